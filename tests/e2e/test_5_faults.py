"""Faults in the middle of work: deleted pods, a scale-down, no NATS, a new login, a wrong key. No message is lost."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from . import traffic
from .cluster import (
    ENVIRONMENT,
    JOBS,
    NATS,
    CommandFailed,
    Object,
    is_at_zero,
    is_ready,
    kubectl,
    name_of,
    objects,
    pictures_address,
    pods,
    publish,
    run,
    settings,
    status,
    until,
)

DOWNLOAD, RESIZE = "image-download", "image-resize"
MANIFEST = f"jobs/{DOWNLOAD}/service.yaml"


@pytest.fixture(scope="module", autouse=True)
def pictures_allowed(deployed: None) -> Iterator[None]:
    """Allow downloads from the picture server in pods that start from now on."""
    settings(DOWNLOAD, DOWNLOAD_ALLOW_ADDRESSES=pictures_address())
    until_no_pod_is_left()
    yield
    settings(DOWNLOAD)


@pytest.fixture(autouse=True)
def no_message_fails() -> Iterator[None]:
    """Check that the test leaves neither a dead letter nor a waiting retry."""
    before = failed_messages()
    yield
    assert failed_messages() == before


def test_a_login_is_replaced_under_load_and_no_message_is_lost(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(300)
    publish(DOWNLOAD, traffic.events(numbers[:200], "slow/12"), tmp_path)
    until("a pod is ready", lambda: bool(ready_pods()))
    before = user_of(DOWNLOAD)
    run("k8s/rotate.sh", "--yes", DOWNLOAD)
    assert user_of(DOWNLOAD) != before
    publish(DOWNLOAD, traffic.events(numbers[200:]), tmp_path)
    until_done(numbers)
    assert not [name_of(pod) for pod in pods(DOWNLOAD) if restarts(pod)]


def test_wrong_secret_is_one_log_line_and_spends_no_message(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(60)
    until_no_pod_is_left()
    with wrong_secret(tmp_path):
        publish(DOWNLOAD, traffic.events(numbers), tmp_path)
        until("pods have tried the store, and tried again", lambda: len(refusals()) > 2)
        assert not any(map(is_ready, pods(DOWNLOAD)))
        assert all("check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY" in line["message"] for line in refusals())
        assert not [line for line in log_lines(DOWNLOAD) if "exception" in line]
        assert deliveries(DOWNLOAD) == {"num_pending": len(numbers), "num_ack_pending": 0, "num_redelivered": 0}
    until_done(numbers)


def test_pods_deleted_and_scaled_down_in_the_middle_of_downloads_lose_no_message(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(200)
    publish(DOWNLOAD, traffic.events(numbers, "slow/12"), tmp_path)
    until("three pods are ready", lambda: len(ready_pods()) >= 3)
    stopped, killed = ready_pods()[:2]
    kubectl("delete", "pod", stopped, "-n", JOBS, "--wait=false")
    kubectl("delete", "pod", killed, "-n", JOBS, "--force", "--grace-period=0")
    until("the deleted pod stops with messages in flight", lambda: in_flight_at_the_end(stopped) > 0)

    until("two pods are ready", lambda: len(ready_pods()) >= 2)
    try:
        patch_most_replicas(1)
        until("a scaled down pod stops with messages in flight", lambda: bool(stopping_with_work() - {stopped}))
    finally:
        kubectl("apply", "-f", MANIFEST)
    until_done(numbers)
    # An attempt starts with a download, so each message has one at least, and those of the killed pod have two.
    downloads = traffic.downloads(numbers)
    assert min(downloads) >= 1
    assert max(downloads) >= 2, "no message of the killed pod was delivered again: it had none in flight"


def test_jobs_go_on_after_the_pod_of_nats_is_deleted(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(200)
    first, later = numbers[:100], numbers[100:]
    publish(DOWNLOAD, traffic.events(first, "slow/3"), tmp_path)
    until("a pod is ready", lambda: bool(ready_pods()))
    assert traffic.not_done(first)
    before = nats_pods()
    kubectl("delete", "pod", "nats-0", "-n", NATS, "--wait=false")
    until("NATS confirms events again", lambda: is_confirmed(traffic.events(later), tmp_path))
    until_done(numbers)
    assert len(nats_pods()) == 1
    assert nats_pods() != before
    assert not [name_of(pod) for app in (DOWNLOAD, RESIZE) for pod in pods(app) if restarts(pod)]


@contextmanager
def wrong_secret(folder: Path) -> Iterator[None]:
    """Break the Secret r2 like a wrong line in k8s/.env during the block, and repair it like a person."""
    right = Path(os.environ.get("ENV_FILE") or ENVIRONMENT.env_file)
    wrong = folder / "wrong.env"
    wrong.write_text(re.sub("(?m)^(R2_SECRET_ACCESS_KEY)=.*", r"\1=of-another-account", right.read_text()))
    make_secret(wrong)
    try:
        yield
    finally:
        make_secret(right)  # running pods read it again


def make_secret(env_file: Path) -> None:
    """Create the Secret r2 from that file, as `make -C k8s secrets` does."""
    run("k8s/setup-scripts/secrets.sh", "--only", "r2", environment={"ENV_FILE": str(env_file)})


def user_of(job: str) -> str:
    """Return the encoded name by which the job logs in to NATS."""
    return kubectl("get", "secret", f"nats-{job}", "-n", JOBS, "--output=jsonpath={.data.NATS_USER}")


def refusals() -> list[dict[str, Any]]:
    """Return the log lines of image-download about refused credentials."""
    return [line for line in log_lines(DOWNLOAD) if "refuses the credentials" in line["message"]]


def log_lines(job: str) -> list[dict[str, Any]]:
    """Return the log lines of the job's pods."""
    log = kubectl("logs", "-n", JOBS, "-l", f"app={job}", "--tail=-1", "--max-log-requests=50", "--ignore-errors")
    # kubectl reports a container that is still starting among the lines.
    return [json.loads(line) for line in log.splitlines() if not line.startswith("error: container ")]


def deliveries(job: str) -> dict[str, int]:
    """Return what the job's consumer has delivered and what not."""
    consumer = next(one for one in status()["consumers"] if one["name"] == f"{job}-consumer")
    return {number: consumer[number] for number in ("num_pending", "num_ack_pending", "num_redelivered")}


def failed_messages() -> tuple[int, int]:
    """Count the dead letters and waiting retries of all jobs."""
    found = status()
    return found["dead_letters"]["total"], sum(one["count"] for one in found["waiting_retries"])


def until_done(numbers: Sequence[int]) -> None:
    """Wait until the store has every picture and every thumbnail."""
    until("every picture and thumbnail is in the store", lambda: not traffic.not_done(numbers))


def until_no_pod_is_left() -> None:
    """Wait for the event jobs to be at zero."""
    until("no pod of an event job is left", lambda: is_at_zero(DOWNLOAD) and is_at_zero(RESIZE))


def ready_pods() -> list[str]:
    """Return the ready pods of image-download, the oldest first."""
    ready = [pod for pod in pods(DOWNLOAD) if is_ready(pod)]
    return [name_of(pod) for pod in sorted(ready, key=lambda pod: pod["metadata"]["creationTimestamp"])]


def stopping_with_work() -> set[str]:
    """Return the pods of image-download that are being deleted and have downloads to finish."""
    stopping = [pod for pod in objects("pods", JOBS, f"app={DOWNLOAD}") if "deletionTimestamp" in pod["metadata"]]
    return {name_of(pod) for pod in stopping if in_flight_at_the_end(name_of(pod)) > 0}


def in_flight_at_the_end(pod: str) -> int:
    """Return how many messages a pod had in flight when it stopped: 0 before that, and when it is gone."""
    try:
        log = kubectl("logs", pod, "-n", JOBS)
    except CommandFailed:
        return 0
    found = re.search(r"stopping, (\d+) messages in flight", log)
    return int(found[1]) if found else 0


def patch_most_replicas(most: int) -> None:
    """Limit image-download to `most` pods."""
    change = json.dumps({"spec": {"maxReplicaCount": most}})
    kubectl("patch", "scaledobject", DOWNLOAD, "-n", JOBS, "--type=merge", "-p", change)


def is_confirmed(events: Sequence[dict[str, str]], folder: Path) -> bool:
    """Return whether NATS has confirmed all of these events."""
    try:
        publish(DOWNLOAD, events, folder)
    except CommandFailed:
        return False
    return True


def nats_pods() -> set[str]:
    """Return the UIDs of the pods of NATS that are not being deleted."""
    return {str(pod["metadata"]["uid"]) for pod in pods("nats", NATS)}


def restarts(pod: Object) -> int:
    """Return how often the pod's containers were restarted."""
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", []))
