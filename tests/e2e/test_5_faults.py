"""Faults in the middle of work: pods deleted, a scale-down, NATS away, a wrong secret. Nothing is lost."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stack.jobs import ROOT

from . import traffic
from .cluster import (
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

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module", autouse=True)
def pictures_allowed(deployed: None) -> Iterator[None]:
    """For all tests here: downloads from the picture server, by pods that start from now on."""
    settings(DOWNLOAD, DOWNLOAD_ALLOW_ADDRESSES=pictures_address())
    until_none_is_left()
    yield
    settings(DOWNLOAD)


@pytest.fixture(autouse=True)
def no_message_ends_badly() -> Iterator[None]:
    """For each test here: neither a dead letter nor a retry comes of it."""
    before = bad_ends()
    yield
    assert bad_ends() == before


def test_a_wrong_secret_is_said_in_a_line_and_spends_no_message(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(60)
    until_none_is_left()
    with wrong_secret(tmp_path):
        publish(DOWNLOAD, traffic.events(numbers), tmp_path)
        until("pods have tried the store, and tried again", lambda: len(refusals()) > 2, 120)
        assert not any(map(is_ready, pods(DOWNLOAD)))
        assert all("check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY" in line["message"] for line in refusals())
        assert not [line for line in lines_of(DOWNLOAD) if "exception" in line]
        assert deliveries(DOWNLOAD) == {"num_pending": len(numbers), "num_ack_pending": 0, "num_redelivered": 0}
    until_done(numbers, 120)
    assert attempts() == {1}


def test_pods_deleted_and_scaled_down_in_the_middle_of_downloads_lose_none(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(120)
    publish(DOWNLOAD, traffic.events(numbers, "slow/12"), tmp_path)
    until("three pods are ready", lambda: len(ready_pods()) >= 3, 120)
    stopped, killed = ready_pods()[:2]
    kubectl("delete", "pod", stopped, "-n", JOBS, "--wait=false")
    kubectl("delete", "pod", killed, "-n", JOBS, "--force", "--grace-period=0")
    until("the deleted pod ends with work in hand", lambda: in_hand_at_the_end(stopped) > 0, 30)

    until("two pods are ready", lambda: len(ready_pods()) >= 2, 120)
    try:
        patch_most_replicas(1)
        until("a pod that is scaled down ends with work in hand", lambda: bool(leaving_with_work() - {stopped}), 60)
    finally:
        kubectl("apply", "-f", MANIFEST)
    until_done(numbers, 240)
    assert 2 in attempts(), "no message of the killed pod came again: it had none"


def test_the_pod_of_nats_is_deleted_and_all_goes_on_by_itself(tmp_path: Path) -> None:
    numbers = traffic.new_numbers(200)
    first, later = numbers[:100], numbers[100:]
    publish(DOWNLOAD, traffic.events(first, "slow/3"), tmp_path)
    until("a pod is ready", lambda: bool(ready_pods()), 120)
    assert traffic.not_done(first)
    before = nats_pods()
    kubectl("delete", "pod", "nats-0", "-n", NATS, "--wait=false")
    until("events are confirmed again", lambda: is_confirmed(traffic.events(later), tmp_path), 180)
    until_done(numbers, 180)
    assert len(nats_pods()) == 1
    assert nats_pods() != before
    assert not [name_of(pod) for app in (DOWNLOAD, RESIZE) for pod in pods(app) if restarts(pod)]


@contextmanager
def wrong_secret(folder: Path) -> Iterator[None]:
    """Inside, the Secret r2 is as somebody made it who had a line of k8s/.env wrong; then put right as by hand."""
    right = Path(os.environ.get("ENV_FILE") or ROOT / "k8s/.env")
    wrong = folder / "wrong.env"
    wrong.write_text(re.sub("(?m)^(R2_SECRET_ACCESS_KEY)=.*", r"\1=of-another-account", right.read_text()))
    make_secret(wrong)
    try:
        yield
    finally:
        make_secret(right)
        # A pod reads its secrets when it starts.
        kubectl("rollout", "restart", f"deployment/{DOWNLOAD}", "-n", JOBS)


def make_secret(env_file: Path) -> None:
    """Make the Secret r2 of that file, as `make -C k8s secrets` does."""
    run("k8s/setup-scripts/secrets.sh", "--only", "r2", environment={"ENV_FILE": str(env_file)})


def refusals() -> list[dict[str, Any]]:
    """The log lines of image-download that say that the store refuses the credentials."""
    return [line for line in lines_of(DOWNLOAD) if "refuses the credentials" in line["message"]]


def lines_of(job: str) -> list[dict[str, Any]]:
    """The log lines of the job's pods that are there."""
    log = kubectl("logs", "-n", JOBS, "-l", f"app={job}", "--tail=-1", "--max-log-requests=50", "--ignore-errors")
    # Of a container that is still being made kubectl says so among them.
    return [json.loads(line) for line in log.splitlines() if not line.startswith("error: container ")]


def attempts() -> set[int]:
    """The attempts that pods of image-download report."""
    return {line["attempt"] for line in lines_of(DOWNLOAD) if "attempt" in line}


def deliveries(job: str) -> dict[str, int]:
    """What the job's consumer has delivered and not."""
    consumer = next(one for one in status()["consumers"] if one["name"] == f"{job}-consumer")
    return {number: consumer[number] for number in ("num_pending", "num_ack_pending", "num_redelivered")}


def bad_ends() -> tuple[int, int]:
    """Dead letters and waiting retries of all jobs."""
    told = status()
    return told["dead_letters"]["total"], sum(one["count"] for one in told["waiting_retries"])


def until_done(numbers: Sequence[int], deadline_s: float) -> None:
    """Wait until the store has every picture and every thumbnail."""
    until("every picture and thumbnail is in the store", lambda: not traffic.not_done(numbers), deadline_s)


def until_none_is_left() -> None:
    """Wait for the event jobs to be at zero."""
    until("no pod of an event job is left", lambda: is_at_zero(DOWNLOAD) and is_at_zero(RESIZE), 180)


def ready_pods() -> list[str]:
    """The ready pods of image-download, the oldest first."""
    ready = [pod for pod in pods(DOWNLOAD) if is_ready(pod)]
    return [name_of(pod) for pod in sorted(ready, key=lambda pod: pod["metadata"]["creationTimestamp"])]


def leaving_with_work() -> set[str]:
    """The pods of image-download that are being deleted and have downloads to finish."""
    leaving = [pod for pod in objects("pods", JOBS, f"app={DOWNLOAD}") if "deletionTimestamp" in pod["metadata"]]
    return {name_of(pod) for pod in leaving if in_hand_at_the_end(name_of(pod)) > 0}


def in_hand_at_the_end(pod: str) -> int:
    """The messages that a pod had in work when it was told to stop; none if it was not, or is gone."""
    try:
        told = kubectl("logs", pod, "-n", JOBS)
    except CommandFailed:
        return 0
    found = re.search(r"stopping, (\d+) messages in work", told)
    return int(found[1]) if found else 0


def patch_most_replicas(most: int) -> None:
    """Bound image-download to `most` pods."""
    change = json.dumps({"spec": {"maxReplicaCount": most}})
    kubectl("patch", "scaledobject", DOWNLOAD, "-n", JOBS, "--type=merge", "-p", change)


def is_confirmed(events: Sequence[dict[str, str]], folder: Path) -> bool:
    """Whether NATS has confirmed these events, all of them."""
    try:
        publish(DOWNLOAD, events, folder)
    except CommandFailed:
        return False
    return True


def nats_pods() -> set[str]:
    """The pods of NATS that are not being deleted, by what no two of them share."""
    return {str(pod["metadata"]["uid"]) for pod in pods("nats", NATS)}


def restarts(pod: Object) -> int:
    """How often its containers were started again."""
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", []))
