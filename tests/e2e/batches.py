"""Views of the batch job: its Jobs, the polls of KEDA, its rows by status, and a hold on the rows of every batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from .cluster import JOBS, Object, name_of, objects, sql, until

# A worker waits while the server has no resources. It would set a row aside whose lock it cannot get, and a lock would
# keep the transaction of a dead worker open in the server, and its batch with it.
_HOLD = """
CREATE FUNCTION e2e_hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'held by the test' USING ERRCODE = 'insufficient_resources';
END $$;
CREATE TRIGGER e2e_hold BEFORE UPDATE ON users FOR EACH ROW
  WHEN (NEW.batch_status IN ('completed', 'failed') AND NEW.id % 20000 >= 10000) EXECUTE FUNCTION e2e_hold();
"""
_LET_GO = "SET client_min_messages = warning; DROP FUNCTION IF EXISTS e2e_hold CASCADE"

_EVERY_S = 0.5


@contextmanager
def rows_held() -> Iterator[None]:
    """Let PostgreSQL take no results of about the second half of each batch during the block."""
    sql(f"{_LET_GO}; {_HOLD}")
    try:
        yield
    finally:
        sql(_LET_GO)


def rows_by_status() -> dict[str, int]:
    """Count the rows of `users` by status, in the table itself."""
    lines = sql("SELECT batch_status, count(*) FROM users GROUP BY 1").splitlines()
    return {status: int(rows) for status, rows in (line.split("|") for line in lines)}


def claimable() -> int:
    """Return what KEDA's query returns."""
    return int(sql("SELECT rows FROM keda_jobs.users_claimable"))


def pods_with_leases() -> list[str]:
    """Return the pods that hold a batch with a valid lease, in the order of their claims."""
    return sql(
        "SELECT pod_name FROM batch_jobs WHERE status = 'running' AND lease_expires_at > now() ORDER BY batch_id"
    ).splitlines()


def polls(number: int) -> None:
    """Wait until KEDA has queried the database that many times more."""
    asked_at: set[str] = set()

    def asked() -> bool:
        asked_at.add(sql("SELECT max(query_start) FROM pg_stat_activity WHERE usename = 'users_scaler'"))
        return len(asked_at - {""}) > number

    until(f"KEDA has queried the database {number} times more", asked)


def is_unfinished(job: Object) -> bool:
    """Return whether the Job has neither completed nor failed."""
    return not _ended(job)


def finished(jobs: list[Object], how: str) -> list[Object]:
    """Return the Jobs that ended as `how`: `Complete` or `Failed`."""
    return [job for job in jobs if _ended(job) == how]


def _ended(job: Object) -> str | None:
    conditions = job["status"].get("conditions", [])
    return next(
        (str(one["type"]) for one in conditions if one["type"] in ("Complete", "Failed") and one["status"] == "True"),
        None,
    )


def existing_jobs() -> list[Object]:
    """Return the Jobs of the ScaledJob `users-batch` that still exist."""
    return objects("jobs", JOBS, "scaledjob.keda.sh/name=users-batch")


@dataclass
class JobWatch:
    """Watch over the Jobs that KEDA creates during a block."""

    created: set[str] = field(default_factory=set)
    most_unfinished: int = 0

    def __enter__(self) -> Self:
        self._before = set(map(name_of, existing_jobs()))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(_EVERY_S):
            jobs = existing_jobs()
            self.created |= set(map(name_of, jobs)) - self._before
            self.most_unfinished = max(self.most_unfinished, sum(map(is_unfinished, jobs)))
