"""Deploys of published jobs to a cluster: what is applied and waited for, and what stops a deploy before that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import changed_jobs
import new_env
from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names

from . import workflows
from .machine import DIGEST, KUBECTL, REGISTRY, Machine, token
from .repository import ONE

ALL = changed_jobs.all_jobs(ROOT)
CLUSTER = {"REGISTRY": REGISTRY, "KUBECONFIG": "/a/file"}


def images(manifests: str) -> set[str]:
    """Find the images of our jobs in a stream of manifests."""
    words = str(list(yaml.safe_load_all(manifests))).replace("'", " ").split()
    return {word for word in words if "@sha256:" in word or word.endswith(":dev")}


def test_exactly_the_published_jobs_are_applied_by_digest_and_waited_for(machine: Machine) -> None:
    event, batch = job_names(EventJob)[0], job_names(BatchJob)[0]
    machine.digests(event, batch)
    machine.stand_in("kubectl", KUBECTL)
    existing = f"deployment/{event} scaledobject/{event} scaledjob/{batch}"
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, EXISTING=existing)
    assert ended.returncode == 0, ended.stderr
    assert images(Path(f"{machine.log}.applied").read_text()) == {
        f"{REGISTRY}/{job}@{DIGEST}" for job in (event, batch)
    }
    waits = [call.split()[1:4] for call in machine.called() if " wait " in call or " rollout " in call]
    assert waits == [
        ["rollout", "status", f"deployment/{event}"],
        ["wait", f"scaledobject/{event}", "--for"],
        ["wait", f"scaledjob/{batch}", "--for"],
    ]


def test_a_deploy_goes_to_its_environment_alone(machine: Machine) -> None:
    new_env.make("staging", "prod", machine.repository.path)
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    record = machine.record("staging")
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, ENV="staging", EXISTING=f"deployment/{ONE}", RECORD=record)
    assert ended.returncode == 0, ended.stderr
    applied = list(yaml.safe_load_all(Path(f"{machine.log}.applied").read_text()))
    assert {one["metadata"]["namespace"] for one in applied if one} == {"keda-jobs-staging"}
    assert "nats.nats.svc" not in str(applied)
    assert {"prod", "keda-jobs-prod"}.isdisjoint(" ".join(machine.called()).replace("/", " ").split())


def test_images_that_are_no_jobs_are_left_to_the_setup(machine: Machine) -> None:
    machine.digests("no-such-job")
    machine.stand_in("kubectl", KUBECTL)
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER)
    assert (ended.returncode, ended.stdout) == (0, "deploy: nothing to do, no job is in .build/digests\n")
    assert machine.called() == []


def test_a_dry_run_shows_the_digest_instead_of_the_tag(machine: Machine) -> None:
    machine.digests(*ALL)
    ended = machine.run("tools/ci/deploy.sh --dry-run", REGISTRY=REGISTRY)
    assert ended.returncode == 0, ended.stderr
    assert images(ended.stdout) == {f"{REGISTRY}/{job}@{DIGEST}" for job in ALL}


def test_a_job_that_does_not_come_up_fails_the_deploy_in_one_line(machine: Machine) -> None:
    machine.digests(*ALL)
    machine.stand_in("kubectl", KUBECTL)
    failing = f"scaledobject/{job_names(EventJob)[0]}"
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, EXISTING=failing, FAILING=failing)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert f"not ready within 180s: {job_names(EventJob)[0]}; see: kubectl" in ended.stderr


@pytest.mark.parametrize("days", [-1, 1, 29.9])
def test_a_token_that_ends_within_30_days_deploys_nothing(machine: Machine, days: float) -> None:
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, TOKEN=token(days))
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "less than 30 days; make a new one with k8s/deployer-kubeconfig.sh" in ended.stderr
    assert not Path(f"{machine.log}.applied").exists()


@pytest.mark.parametrize("login", ["", token(31)], ids=["by OIDC", "with a token"])
def test_other_logins_deploy(machine: Machine, login: str) -> None:
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, TOKEN=login)
    assert ended.returncode == 0, ended.stderr
    assert Path(f"{machine.log}.applied").exists()


@pytest.mark.parametrize(
    ("asked", "days", "printed"), [("", 365, True), ("", 1, False), ("2160h", 2, False), ("1h", 1 / 24, True)]
)
def test_the_kubeconfig_of_ci_holds_no_token_that_the_cluster_shortened(
    machine: Machine, asked: str, days: float, *, printed: bool
) -> None:
    machine.stand_in("kubectl", KUBECTL)
    machine.stand_in("keda-jobs")
    given = token(days)
    ended = machine.run(f"k8s/deployer-kubeconfig.sh {asked}", TOKEN=given)
    assert (ended.returncode == 0, given in ended.stdout, bool(ended.stdout)) == (printed, printed, printed)
    assert ended.stderr.count("\n") == 1
    assert f"--duration {asked or '8760h'}" in machine.log.read_text()


@pytest.mark.parametrize("text", ["", "opaque", "a.b.c", "a.W10.c"])
def test_a_token_that_cannot_be_read_is_one_line(machine: Machine, text: str) -> None:
    ended = machine.run(f"PYTHONPATH=tools python -m cluster.token_life <<<'{text}'")
    assert (ended.returncode, ended.stderr.count("\n")) == ((1, 1) if text else (0, 0))


@pytest.mark.parametrize("part", [None, "streams", "nats-users", "database", "platform"])
def test_nothing_is_deployed_where_the_last_setup_was_for_another_commit(machine: Machine, part: str | None) -> None:
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    record = json.loads(machine.record())["data"]
    stored = json.dumps({"data": record | {part: "of another commit"}}) if part else ""
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, RECORD=stored)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    differing = part or ", ".join(sorted(record))
    assert f"differs in {differing}; run ENV=prod k8s/setup-scripts/setup-all.sh" in ended.stderr
    assert not Path(f"{machine.log}.applied").exists()


def test_a_part_that_a_setup_left_out_is_not_compared(machine: Machine) -> None:
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    record = json.loads(machine.record())["data"] | {"database": "skipped"}
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER, RECORD=json.dumps({"data": record}))
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("content", ["", "latest", "sha256:0", f"{DIGEST}\nv1"])
def test_an_invalid_digest_is_not_deployed(machine: Machine, content: str) -> None:
    machine.digests(ONE, content=content)
    machine.stand_in("kubectl", KUBECTL)
    ended = machine.run("tools/ci/deploy.sh", **CLUSTER)
    assert ended.returncode == 1
    assert "holds no digest" in ended.stderr
    assert not Path(f"{machine.log}.applied").exists()


def test_a_deploy_without_digests_registry_or_cluster_says_so(machine: Machine) -> None:
    assert machine.run("tools/ci/deploy.sh").stderr == "deploy: REGISTRY is not set\n"
    assert "has no digest" in machine.run("tools/ci/deploy.sh", REGISTRY=REGISTRY).stderr
    machine.digests(ONE)
    assert "there is no cluster" in machine.run("tools/ci/deploy.sh", REGISTRY=REGISTRY).stderr


def test_the_kubeconfig_is_private_and_removed(machine: Machine, tmp_path: Path) -> None:
    [key] = [name for name, value in workflows.step_of("tools/ci/deploy.sh").environment.items() if "secrets." in value]
    machine.digests(ONE)
    machine.stand_in("kubectl", KUBECTL)
    (tmp_path / "tmp").mkdir()
    environment = {"REGISTRY": REGISTRY, "TMPDIR": str(tmp_path / "tmp"), key: "hush"}
    ended = machine.run("tools/ci/deploy.sh", **environment)
    assert ended.returncode == 0, ended.stderr
    assert set(Path(f"{machine.log}.mode").read_text().split()) == {"600"}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert "hush" not in ended.stdout + ended.stderr
