"""Views of the batch job: its Jobs, the polls of KEDA, its rows by status, and a hold on the rows of every batch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from .cluster import JOBS, Object, name_of, objects, sql, until

# A refusal would count as trouble of the server: the workers would not be ready, and KEDA takes such pods for pending.
# A server that looks for its clients ends the transaction of a killed worker, which would keep its batch.
_HOLD = """
SET client_min_messages = warning;
ALTER DATABASE keda_jobs SET client_connection_check_interval = '1s';
DROP FUNCTION IF EXISTS public.e2e_hold CASCADE;
CREATE TABLE IF NOT EXISTS public.e2e_held (is_held boolean);
INSERT INTO public.e2e_held VALUES (true);
CREATE FUNCTION public.e2e_hold() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
  WHILE EXISTS (SELECT FROM public.e2e_held) LOOP
    PERFORM pg_sleep(0.1);
  END LOOP;
  RETURN NEW;
END $$;
CREATE TRIGGER e2e_hold BEFORE UPDATE ON users FOR EACH ROW
  WHEN (NEW.batch_status IN ('completed', 'failed') AND NEW.id % 20000 >= 10000) EXECUTE FUNCTION public.e2e_hold();
"""
_LET_GO = "DELETE FROM public.e2e_held"

_EVERY_S = 0.5


@contextmanager
def rows_held() -> Iterator[None]:
    """Let the results of about the second half of each batch wait in PostgreSQL during the block."""
    sql(_HOLD)
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
