"""100 000 users in PostgreSQL: Jobs follow the depth of the queue, and others take the rows of a killed worker."""

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

# The manifest's 30 s only make the tests longer, and five workers that request half a core each are too much for a
# laptop.
_CHANGES = [
    {"op": "replace", "path": "/spec/pollingInterval", "value": 5},
    {"op": "replace", "path": "/spec/jobTargetRef/template/spec/containers/0/resources/requests/cpu", "value": "50m"},
]


@pytest.fixture
def batch_job(deployed: None) -> Iterator[None]:
    """Let KEDA poll more often and leases expire sooner, with no rows to work on."""
    # A held result is an answer that takes long.
    settings("users-batch", LEASE_S="15", CLAIM_TIMEOUT_S="600")
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
            until_all_are_claimed(MOST_JOBS)
            batches.polls(POLLS)
            assert_a_job_for_each_claim(watch, MOST_JOBS)

            before = batches.pods_with_leases()
            killed = before[0]
            kubectl("delete", "pod", killed, "-n", JOBS, "--force", "--grace-period=0")
            until(
                "a later Job has rows of the killed worker",
                lambda: killed in abandoned() and bool(set(batches.pods_with_leases()) - set(before)),
            )
        until("all rows are settled", all_rows_are_settled)
        until("no more finished Jobs are kept than the limits say", finished_jobs_are_cleaned)
        batches.polls(POLLS)

    assert batches.rows_by_status() == {"completed": 100_000 - invalid, "failed": invalid}
    assert rows_written_by_batches() == 100_000
    assert_a_job_for_each_claim(watch, MOST_JOBS)
    assert watch.most_unfinished <= MOST_JOBS


def test_35_000_rows_get_two_jobs_and_none_gets_none(batch_job: None, tmp_path: Path) -> None:
    with batches.JobWatch() as watch:
        batches.polls(POLLS)
        assert not watch.created, "there are Jobs for an empty queue"
        with batches.rows_held():
            seed(35_000, tmp_path)
            until_all_are_claimed(2)
            batches.polls(POLLS)
        until("all rows are settled", all_rows_are_settled)
    assert_a_job_for_each_claim(watch, 2)


def assert_a_job_for_each_claim(watch: batches.JobWatch, claims: int) -> None:
    """Check that KEDA created a Job for each claim, and one more at most for each batch whose lease expired.

    On a busy cluster a lease may also expire that nobody killed.
    """
    assert claims <= len(watch.created) <= claims + len(abandoned()), overview()


def empty() -> None:
    """Wait for the workers, then delete all rows."""
    until("no Job is unfinished", lambda: not any(map(batches.is_unfinished, batches.existing_jobs())))
    in_cluster("users-batch-seed", "reset", "--yes")


def seed(rows: int, folder: Path) -> int:
    """Load users through a port-forward and return how many of them are invalid."""
    output = in_cluster("users-batch-seed", "all", "--rows", str(rows), "--out", str(folder), "--json")
    return int(json.loads(output)["import"]["invalid"])


def until_all_are_claimed(workers: int) -> None:
    """Wait until so many workers or more hold all rows."""
    until(
        f"{workers} workers have claimed all rows",
        lambda: len(batches.pods_with_leases()) >= workers and batches.claimable() == 0,
    )


def all_rows_are_settled() -> bool:
    """Return whether every row is completed or failed."""
    return batches.rows_by_status().keys() == {"completed", "failed"}


def abandoned() -> list[str]:
    """Return the pods whose leases expired, once for each batch."""
    return sql("SELECT pod_name FROM batch_jobs WHERE status = 'abandoned'").splitlines()


def rows_written_by_batches() -> int:
    """Return the sum of the batches' own counts. A row that was written twice would count twice."""
    return int(sql("SELECT sum(completed + failed) FROM batch_jobs"))


def finished_jobs_are_cleaned() -> bool:
    """Return whether all Jobs have ended and no more exist than the manifest's history limits allow."""
    jobs = batches.existing_jobs()
    complete, failed = (batches.finished(jobs, how) for how in ("Complete", "Failed"))
    return len(complete) <= KEPT_COMPLETE and len(failed) <= KEPT_FAILED and len(jobs) == len(complete) + len(failed)
