"""The disk of NATS is lost. A backup by the CronJob, restored by its image, brings back all that was left to do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack.jobs import ROOT

from .cluster import (
    ENVIRONMENT,
    JOBS,
    NATS,
    CommandFailed,
    in_cluster,
    is_at_zero,
    kubectl,
    objects,
    pictures_address,
    publish,
    run,
    settings,
    status,
    until,
)
from .conftest import EVENT_JOBS
from .traffic import events, new_numbers, not_done

pytestmark = pytest.mark.slow

DOWNLOAD = "image-download"
FOLDER = f"k8s/kustomize/overlays/{ENVIRONMENT.environment}/backup"
BACKUP = "backup-e2e"
# Longer than it takes to publish and to back up, so that the retries wait meanwhile.
RETRY_STEP_S = 150
_METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/metrics').read().decode())"


@pytest.fixture
def cron_job(deployed: None, ops_image: None) -> Iterator[None]:
    """Apply the CronJob, and let it start nothing by itself."""
    kubectl("apply", "--server-side", "-k", FOLDER)
    kubectl("patch", "cronjob", "backup", "-n", JOBS, "--type=merge", "--patch", '{"spec": {"suspend": true}}')
    yield
    kubectl("delete", "-k", FOLDER)


def test_nothing_is_missing_after_a_restore(cron_job: None, at_rest: None, tmp_path: Path) -> None:
    numbers = new_numbers(105)
    slow, flaky = numbers[:100], numbers[100:]
    settings(DOWNLOAD, DOWNLOAD_ALLOW_ADDRESSES=pictures_address(), RETRY_STEP_S=str(RETRY_STEP_S))
    before = waiting_and_dead()
    gone = [{"url": f"http://{pictures_address()}/status/404/{number}.png"} for number in flaky]
    failing = [event for number in flaky for event in events([number], f"flaky/{number}/1")]
    publish(DOWNLOAD, [*gone, *failing], tmp_path)
    failed = tuple(count + len(flaky) for count in before)
    until("retries wait, and there are dead letters", lambda: waiting_and_dead() == failed)
    publish(DOWNLOAD, events(slow, "slow/30"), tmp_path)
    until("some of the events are in flight, and others not yet", lambda: min(in_flight_and_pending()) > 0)

    began = time.time()
    [waiting] = re.findall(r"^keda-jobs-retries: (\d+) messages", back_up(), re.MULTILINE)
    assert int(waiting) >= len(flaky)
    assert last_backup() > began - 60
    assert not_done(slow)

    lose_the_disk()
    with pytest.raises(CommandFailed, match="there is no stream keda-jobs-events"):
        status()
    with paused_jobs():
        restore()
        in_cluster("keda-jobs", "streams", "apply")

    assert waiting_and_dead()[1] >= failed[1]
    until("all pictures are done, also those of the retries", lambda: not not_done(numbers))
    until("no retry of the test waits", lambda: waiting_and_dead()[0] <= before[0])


def waiting_and_dead() -> tuple[int, int]:
    """Count the waiting retries of image-download, and all dead letters."""
    found = status()
    waiting = sum(one["count"] for one in found["waiting_retries"] if one["job"] == DOWNLOAD)
    return waiting, found["dead_letters"]["total"]


def in_flight_and_pending() -> tuple[int, int]:
    """Count the messages of image-download that are delivered and not acked, and those that are not delivered."""
    [consumer] = [one for one in status()["consumers"] if one["name"] == f"{DOWNLOAD}-consumer"]
    return consumer["num_ack_pending"], consumer["num_pending"]


def back_up() -> str:
    """Run the CronJob's Job by hand, and return its log."""
    kubectl("create", "job", BACKUP, "--from=cronjob/backup", "-n", JOBS)
    until("the backup has ended", lambda: bool(conditions() & {"Complete", "Failed"}))
    log = kubectl("logs", "-n", JOBS, f"job/{BACKUP}")
    assert "Complete" in conditions(), log
    assert re.search(r"^backup \S+ is complete$", log, re.MULTILINE), log
    return log


def conditions() -> set[str]:
    """Return the conditions of the backup's Job that are true."""
    [job] = [one for one in objects("jobs", JOBS, "app=backup") if one["metadata"]["name"] == BACKUP]
    return {one["type"] for one in job.get("status", {}).get("conditions", ()) if one["status"] == "True"}


def last_backup() -> float:
    """Return when the last backup began, as the exporter says."""
    page = kubectl("exec", "-n", JOBS, "deployment/exporter", "--", "python", "-c", _METRICS)
    [value] = re.findall(r"^keda_jobs_last_backup_timestamp_seconds (\S+)$", page, re.MULTILINE)
    return float(value)


def lose_the_disk() -> None:
    """Delete the volume of NATS while jobs work, and start a server on a new one."""
    kubectl("scale", "statefulset/nats", "-n", NATS, "--replicas=0")
    until("NATS is gone", lambda: not objects("pods", NATS, "app=nats"))
    kubectl("delete", "persistentvolumeclaim", "data-nats-0", "-n", NATS)
    kubectl("scale", "statefulset/nats", "-n", NATS, "--replicas=1")
    kubectl("rollout", "status", "statefulset/nats", "-n", NATS, "--timeout=600s")


@contextmanager
def paused_jobs() -> Iterator[None]:
    """Pause the event jobs during the block, so that none acks an event of the lost stream."""
    for job in EVENT_JOBS:
        run("k8s/pause.sh", "pause", job)
    try:
        until("no job holds an event from before", lambda: all(map(is_at_zero, EVENT_JOBS)))
        yield
    finally:
        for job in EVENT_JOBS:
            run("k8s/pause.sh", "resume", job)


def restore() -> None:
    """Type what the document says about a restore from a pod."""
    section = (ROOT / "docs/backup.md").read_text().partition("### From a pod")[2]
    [block, *_] = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    run("bash", "-euo", "pipefail", "-c", block)
