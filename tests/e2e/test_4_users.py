"""100 000 users in PostgreSQL: Jobs by the depth of the queue, and the rows of a worker that was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import batches
from .cluster import JOBS, in_cluster, kubectl, overview, settings, sql, until

MOST_JOBS = 5
KEPT_COMPLETE, KEPT_FAILED = 3, 5
POLLS = 3

pytestmark = pytest.mark.timeout(600)

# The manifest's 30 s would only make the tests longer, and five workers that ask for half a core each are more than
# a laptop has to give. All else is the manifest's.
_CHANGES = [
    {"op": "replace", "path": "/spec/pollingInterval", "value": 5},
    {"op": "replace", "path": "/spec/jobTargetRef/template/spec/containers/0/resources/requests/cpu", "value": "50m"},
]


@pytest.fixture
def batch_job(deployed: None) -> Iterator[None]:
    """The ScaledJob with nothing to do, quicker polls, and a lease that is soon over."""
    settings("users-batch", LEASE_S="15")
    kubectl("patch", "scaledjob", "users-batch", "-n", JOBS, "--type=json", "-p", json.dumps(_CHANGES))
    empty()
    yield
    empty()
    kubectl("apply", "-f", "jobs/users-batch/service.yaml")
    settings("users-batch")


def test_five_jobs_do_100_000_users_and_a_later_one_those_of_a_killed_worker(batch_job: None, tmp_path: Path) -> None:
    with batches.JobWatch() as watch:
        with batches.rows_held():
            invalid = seed(100_000, tmp_path)
            until_claimed_by(MOST_JOBS)
            batches.polls(POLLS)
            assert len(watch.made) == MOST_JOBS, overview()

            killed = batches.pods_at_work()[0]
            kubectl("delete", "pod", killed, "-n", JOBS, "--force", "--grace-period=0")
            until("a later Job has rows of the killed worker", lambda: has_another_worker(killed), 120)
        until("all rows are done", lambda: batches.rows_by_status().keys() == {"completed", "failed"}, 120)
        until("no more finished Jobs are kept than the limits say", finished_jobs_are_cleaned, 60)
        batches.polls(POLLS)

    assert batches.rows_by_status() == {"completed": 100_000 - invalid, "failed": invalid}
    assert rows_written_by_batches() == 100_000
    assert abandoned() == [killed]
    assert len(watch.made) == MOST_JOBS + 1
    assert watch.most_unfinished == MOST_JOBS


def test_35_000_rows_get_two_jobs_and_none_gets_none(batch_job: None, tmp_path: Path) -> None:
    with batches.JobWatch() as watch:
        batches.polls(POLLS)
        assert not watch.made, "there are Jobs for an empty queue"
        with batches.rows_held():
            seed(35_000, tmp_path)
            until_claimed_by(2)
            batches.polls(POLLS)
        until("all rows are done", lambda: batches.rows_by_status().keys() == {"completed", "failed"}, 120)
    assert len(watch.made) == 2


def empty() -> None:
    """Wait for the workers, then leave no row."""
    until("no Job is unfinished", lambda: not any(map(batches.is_unfinished, batches.jobs_there())), 120)
    in_cluster("users-batch-seed", "reset", "--yes")


def seed(rows: int, folder: Path) -> int:
    """Load users as a person does, through a port-forward; how many of them are invalid."""
    told = in_cluster("users-batch-seed", "all", "--rows", str(rows), "--out", str(folder), "--json")
    return int(json.loads(told)["import"]["invalid"])


def until_claimed_by(workers: int) -> None:
    """Wait until so many workers hold all rows."""
    until(
        f"{workers} workers have claimed all rows",
        lambda: len(batches.pods_at_work()) == workers and batches.claimable() == 0,
        120,
    )


def has_another_worker(killed: str) -> bool:
    """Whether the batch of the killed worker was taken, and some of its rows were claimed again."""
    return abandoned() == [killed] and len(batches.pods_at_work()) == MOST_JOBS


def abandoned() -> list[str]:
    """The pods whose batches were taken by others."""
    return sql("SELECT pod_name FROM batch_jobs WHERE status = 'abandoned'").splitlines()


def rows_written_by_batches() -> int:
    """What the batches have written down, which counts each row that was done twice twice."""
    return int(sql("SELECT sum(completed + failed) FROM batch_jobs"))


def finished_jobs_are_cleaned() -> bool:
    """Whether all Jobs have ended, and no more of them are there than the manifest's history limits allow."""
    jobs = batches.jobs_there()
    complete, failed = (batches.finished(jobs, how) for how in ("Complete", "Failed"))
    return len(complete) <= KEPT_COMPLETE and len(failed) <= KEPT_FAILED and len(jobs) == len(complete) + len(failed)
