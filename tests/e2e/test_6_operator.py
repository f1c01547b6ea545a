"""Whoever is on call types the runbook: every command of theirs, from a laptop and from the pod `ops-0`.

They have the group `keda-jobs-operators` and nothing else: neither an administrator's rights nor a file of credentials.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.repo.docs.runbook import of_operator

from environments import OVERLAYS

from .cluster import (
    ENVIRONMENT,
    JOBS,
    NATS,
    CommandFailed,
    in_cluster,
    is_at_zero,
    kubectl,
    pictures_address,
    publish,
    run,
    settings,
    status,
    until,
)
from .test_7_documents import first_output, following

DOWNLOAD = "image-download"
MONITORING = "monitoring"
OVERLAY = f"{OVERLAYS}/{ENVIRONMENT.environment}"
FOLLOWING = re.compile(r"--watch|k8s/logs\.sh")
# Commands that end NATS's server, or pods of jobs. They come last.
DISRUPTIVE = re.compile(r"kubectl (delete|rollout restart)")
PREPARED = f"export ENV={ENVIRONMENT.environment}; . k8s/environment.sh; "
# Looks come first, with every job at zero. What was replayed dies again only after the job was resumed.
_ORDER = (r"k8s/pause\.sh pause", r"k8s/pause\.sh resume", r".* dlq replay", r".* dlq purge", DISRUPTIVE.pattern)
COMMANDS = sorted(
    of_operator(), key=lambda command: next((n for n, kind in enumerate(_ORDER) if re.match(kind, command)), -1)
)


@pytest.fixture(scope="module")
def prepared(deployed: None, ops_image: None) -> Iterator[None]:
    """Apply the CronJob of backups, which does not start, and what Prometheus would scrape."""
    has_namespace = f"namespace/{MONITORING}" in kubectl("get", "namespaces", "-o", "name").split()
    if not has_namespace:
        kubectl("create", "namespace", MONITORING)
    if knows_monitors():
        kubectl("apply", "--server-side", "-k", "k8s/monitoring")
    kubectl("apply", "--server-side", "-k", f"{OVERLAY}/backup")
    kubectl("patch", "cronjob", "backup", "-n", JOBS, "--patch", '{"spec": {"suspend": true}}')
    settings(DOWNLOAD, DOWNLOAD_ALLOW_ADDRESSES=pictures_address())
    yield
    for job in (DOWNLOAD, "users-batch"):
        run("k8s/pause.sh", "resume", job)
    settings(DOWNLOAD)
    kubectl("delete", "-k", f"{OVERLAY}/backup")
    if knows_monitors():
        kubectl("delete", "-k", "k8s/monitoring")
    if not has_namespace:
        kubectl("delete", "namespace", MONITORING)


@pytest.fixture
def dead_letters(prepared: None, tmp_path: Path) -> None:
    """Store two dead letters, with every job at zero."""
    run("k8s/pause.sh", "resume", DOWNLOAD)  # the last command may have been a pause
    kill_messages(2, tmp_path)
    until("no pod of the job is left", lambda: is_at_zero(DOWNLOAD))


def kill_messages(number: int, folder: Path) -> None:
    """Publish events that fail, and wait until they are dead letters."""
    before = dead_count()
    site = f"http://{pictures_address()}/status/404"
    publish(DOWNLOAD, [{"url": f"{site}/{one}"} for one in range(number)], folder)
    until("the dead letters are stored", lambda: dead_count() >= before + number)


def dead_count() -> int:
    """Count all dead letters."""
    return int(status()["dead_letters"]["total"])


@pytest.fixture(scope="module")
def laptop(prepared: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of a shell of somebody who is on call, and of no administrator."""
    folder = tmp_path_factory.mktemp("on-call")
    config = yaml.safe_load(kubectl("config", "view", "--raw", "--flatten", "--minify"))
    [user] = config["users"]
    user["user"] |= {"as": "somebody", "as-groups": ["keda-jobs-operators"]}
    file = folder / "config"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(file), "ENV_FILE": str(folder / "no-file"), "PG_DSN": ""}


@pytest.fixture(scope="module")
def ops_pod(prepared: None) -> Iterator[None]:
    """Apply the pod of the ops image."""
    kubectl("apply", "--server-side", "-k", f"{OVERLAY}/ops")
    kubectl("rollout", "status", "statefulset/ops", "-n", NATS, "--timeout=300s")
    yield
    kubectl("delete", "-k", f"{OVERLAY}/ops")


def knows_monitors() -> bool:
    """Return whether the cluster has the kinds of the prometheus-operator."""
    return bool(kubectl("get", "crd", "podmonitors.monitoring.coreos.com", "--ignore-not-found"))


def commands() -> list[str]:
    """Return what can be typed here."""
    return [command for command in COMMANDS if "podmonitors" not in command or knows_monitors()]


def typed(command: str) -> str:
    """Fill in what a person would: a class of errors, a pod, the only server, an event for later, a yes."""
    if "dlq replay" in command or "dlq purge --error-class" in command:
        command = re.sub(r"--error-class \S+", f"--error-class {dead()[0]['error_class']}", command)
    command = command.replace("nats-2", "nats-0")
    if "schedules cancel" in command:
        in_cluster("keda-jobs", "pub", DOWNLOAD, "--in", "1h", f"http://{pictures_address()}/status/404/later")
        [waiting] = json.loads(in_cluster("keda-jobs", "schedules", "ls", "--json"))
        command = command.replace("…", waiting["key"])
    command = command.replace("delete pod -n $JOBS_NAMESPACE …", f"delete pod -n $JOBS_NAMESPACE -l app={DOWNLOAD}")
    return f"{command} --yes" if re.search("dlq purge|schedules cancel", command) else command


def dead() -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(run("k8s/connect.sh", "keda-jobs", "dlq", "ls", "--json"))
    return found


def nats_is_back() -> None:
    kubectl("rollout", "status", "statefulset/nats", "-n", NATS, "--timeout=300s")
    until("NATS answers", nats_answers)


def nats_answers() -> bool:
    try:
        return bool(status())
    except CommandFailed:
        return False


def test_every_command_works_from_a_laptop(laptop: dict[str, str], dead_letters: None, tmp_path: Path) -> None:
    for number, command in enumerate(commands()):
        if "dlq purge --error-class" in command:
            kill_messages(1, tmp_path)
        line = PREPARED + typed(command)
        if FOLLOWING.search(command):
            assert first_output(line, {**os.environ, **laptop}, tmp_path / f"log-{number}")
        else:
            run("bash", "-euc", line, environment=laptop)
        if DISRUPTIVE.match(command) and "NATS" in command:
            nats_is_back()


def test_every_command_works_from_the_pod(
    ops_pod: None, laptop: dict[str, str], dead_letters: None, tmp_path: Path
) -> None:
    for number, command in enumerate(commands()):
        if "dlq purge --error-class" in command:
            kill_messages(1, tmp_path)
        inside = f"kubectl exec -n {NATS} ops-0 -- bash -euc {shlex.quote(PREPARED + typed(command))}"
        if FOLLOWING.search(command):
            assert first_output(inside, {**os.environ, **laptop}, tmp_path / f"log-{number}")
        else:
            run("bash", "-euc", inside, environment=laptop)
        if DISRUPTIVE.match(command) and "NATS" in command:
            nats_is_back()


def test_the_pod_serves_the_page_and_shows_an_outage_of_nats(
    ops_pod: None, laptop: dict[str, str], tmp_path: Path
) -> None:
    forward = f"exec kubectl port-forward -n {NATS} ops-0 :8070"
    with following(forward, {**os.environ, **laptop}, tmp_path / "forward"):
        until("the port is forwarded", lambda: "Forwarding from" in (tmp_path / "forward").read_text())
        address = re.search(r"127\.0\.0\.1:\d+", (tmp_path / "forward").read_text())
        assert address

        def page() -> str:
            with urllib.request.urlopen(f"http://{address[0]}/") as response:
                return str(response.read().decode())

        until("the page shows the job", lambda: DOWNLOAD in page() and "is away" not in page())
        kubectl("scale", "statefulset/nats", "-n", NATS, "--replicas=0")
        until("the page says that NATS is away", lambda: "is away" in page())
        kubectl("scale", "statefulset/nats", "-n", NATS, "--replicas=1")
        nats_is_back()
        until("the page shows NATS again", lambda: "is away" not in page())


def test_they_log_in_as_themselves(laptop: dict[str, str]) -> None:
    shown = run("k8s/connect.sh", "sh", "-c", 'echo "$NATS_USER $PG_DSN"', environment=laptop)
    assert shown.startswith("operator postgresql://keda_jobs_operator:")


def test_what_an_administrator_has_to_do_is_refused_in_one_line(laptop: dict[str, str], tmp_path: Path) -> None:
    kill_messages(1, tmp_path)
    for command, refusal in (
        ("dlq purge --all --yes", r"(?i)permissions violation for publish"),
        ("batch check", "permission denied"),
    ):
        with pytest.raises(CommandFailed, match=refusal) as refused:
            run("k8s/connect.sh", "keda-jobs", *command.split(), environment=laptop)
        assert "Traceback" not in str(refused.value)


@pytest.mark.parametrize(
    "command",
    [
        f"get secret nats-admin -n {NATS}",
        f"get secret nats-auth -n {NATS}",
        f"get secrets -n {NATS}",
        f"get secret postgres -n {JOBS}",
        f"get secret r2 -n {JOBS}",
        f"get secrets -n {JOBS}",
        f"exec -n {NATS} nats-0 -- true",
        f"exec -n {JOBS} deployment/exporter -- true",
        f"run mine -n {JOBS} --image=keda-jobs-test-servers:dev",
        f"create job mine -n {JOBS} --image=keda-jobs-test-servers:dev",
        f"scale deployment/{DOWNLOAD} -n {JOBS} --replicas=3",
        f"delete deployment {DOWNLOAD} -n {JOBS}",
        f"delete statefulset nats -n {NATS}",
        f"delete pvc data-nats-0 -n {NATS}",
        f"delete configmap keda-jobs-setup -n {JOBS}",
        f"create rolebinding mine -n {JOBS} --clusterrole=admin --user=somebody",
        "get pods -n kube-system",
        "get nodes",
    ],
)
def test_they_may_do_nothing_else(laptop: dict[str, str], command: str) -> None:
    with pytest.raises(CommandFailed, match=r"(?i)forbidden"):
        run("kubectl", *command.split(), environment=laptop)


_IMAGE = {"spec": {"template": {"spec": {"containers": [{"name": "{name}", "image": "keda-jobs-test-servers:dev"}]}}}}


@pytest.mark.parametrize(
    ("thing", "namespace", "container"),
    [(f"deployment/{DOWNLOAD}", JOBS, DOWNLOAD), ("statefulset/nats", NATS, "nats")],
)
def test_a_restart_changes_nothing_but_its_annotation(
    laptop: dict[str, str], thing: str, namespace: str, container: str
) -> None:
    other = ("patch", thing, "-n", namespace, "--type=strategic", "--dry-run=server", "--patch")
    for change in (
        json.dumps(_IMAGE).replace("{name}", container),
        '{"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}',
        '{"spec": {"replicas": 2}}',
        '{"metadata": {"labels": {"a": "b"}}}',
    ):
        with pytest.raises(CommandFailed, match="your rights are for restarts"):
            run("kubectl", *other, change, environment=laptop)
    now = '{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}}'
    run("kubectl", *other, now, environment=laptop)


def test_the_pod_may_act_as_people_on_call_and_as_nobody_else(ops_pod: None) -> None:
    account = f"--as=system:serviceaccount:{NATS}:ops"
    answers = {
        what: run("bash", "-c", f"kubectl auth can-i {what} {account} || true").strip()
        for what in (
            "impersonate groups/keda-jobs-operators",
            "impersonate groups/system:masters",
            "impersonate users/admin",
            f"get secret/nats-operator -n {NATS}",
            f"get pods -n {JOBS}",
        )
    }
    assert [answer == "yes" for answer in answers.values()] == [True, False, False, False, False], answers
