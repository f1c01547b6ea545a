"""A schedule of job.toml wakes a job from zero each minute, also while NATS is away at the time that is due."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.jobs import ROOT

from .cluster import NATS, in_cluster, is_at_zero, kubectl, until
from .traffic import downloads, events, new_numbers

pytestmark = pytest.mark.slow

JOB = "image-download"
MINUTE_S = 60
SCHEDULE = '\n[[schedules]]\nname = "each-minute"\ncron = "* * * * *"\nevent = {{url = {url}}}\n'


@pytest.fixture
def picture(at_rest: None, tmp_path: Path) -> Iterator[int]:
    """Declare a schedule in a copy of the jobs' files and cancel it at the end. Yield the number of its picture."""
    jobs = tmp_path / "jobs"
    shutil.copytree(ROOT / "jobs", jobs)
    [number] = new_numbers(1)
    [event] = events([number])
    with (jobs / JOB / "job.toml").open("a") as file:
        file.write(SCHEDULE.format(url=json.dumps(event["url"])))
    apply(jobs)
    yield number
    assert "- schedule" in apply(ROOT / "jobs")


def apply(jobs: Path) -> str:
    """Apply the declaration in a folder, and return what was changed."""
    return in_cluster("keda-jobs", "streams", "apply", "--jobs", str(jobs))


def runs(picture: int) -> int:
    """Return how often the job has downloaded the picture."""
    [count] = downloads([picture])
    return count


def wait_for_a_run(picture: int) -> None:
    """Wait until the job has downloaded the picture once more."""
    before = runs(picture)
    until("the schedule has published an event", lambda: runs(picture) > before)


def test_each_minute_the_job_wakes_from_zero_and_goes_back(picture: int) -> None:
    for _ in range(2):
        wait_for_a_run(picture)
        until(f"{JOB} is at zero", lambda: is_at_zero(JOB))


def test_an_event_that_is_due_while_nats_is_killed_comes(picture: int) -> None:
    until("an event is due within seconds", lambda: time.time() % MINUTE_S > MINUTE_S - 4, every_s=0.2)
    before, began = runs(picture), time.time()
    kubectl("delete", "pod", "nats-0", "-n", NATS, "--force", "--grace-period=0")
    kubectl("rollout", "status", "statefulset/nats", "-n", NATS, "--timeout=120s")
    wait_for_a_run(picture)
    until(f"{JOB} is at zero", lambda: is_at_zero(JOB))
    minutes = (time.time() - began) // MINUTE_S + 1
    # One that was being published may come twice: docs/schedules.md.
    assert runs(picture) - before <= minutes + 1
