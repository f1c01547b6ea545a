"""Status of a batch job, read from the database in one snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.claims import ClaimTable
from keda_jobs.postgres import Connection, open_connection, translate_all_errors
from keda_jobs.settings import PgSettings
from keda_jobs.status.queues import (
    BatchTotals,
    CurrentHold,
    LastCheck,
    RangeTotals,
    find_queue,
    read_batches,
    read_claimable,
    read_hold,
    read_last_check,
    read_ranges,
)
from keda_jobs.status.row_counts import Failures, RowCounts, read_failures, time_left

_RATE_INTERVAL = timedelta(seconds=60)
# Reading the failed rows may take at most a hundredth of the time of a watch.
_PAUSE_PER_READ = 100

_ESTIMATE = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)"

_RUNNING = """
SELECT batch_id, pod_name, claimed, completed, failed, rows_per_s, started_at, heartbeat_at, lease_expires_at
FROM {} WHERE status = 'running' ORDER BY batch_id"""

# A batch that began earlier contributes the share of its rows that falls into the interval.
_RATE = """
WITH recent AS (
  SELECT
    completed + failed AS rows, started_at, coalesce(finished_at, heartbeat_at) AS ended_at,
    now() - $1::interval AS since
  FROM {} WHERE completed + failed > 0
)
SELECT coalesce(
  sum(rows * CASE WHEN started_at >= since THEN 1
    ELSE extract(epoch FROM ended_at - since) / extract(epoch FROM ended_at - started_at) END)
  / greatest(1, extract(epoch FROM now() - greatest(min(since), min(started_at)))), 0)::float8
FROM recent WHERE ended_at > since"""


@dataclass(frozen=True, slots=True)
class RunningBatch:
    """A batch that a worker holds."""

    batch_id: int
    pod_name: str
    claimed: int
    completed: int
    failed: int
    rows_per_s: float
    started_at: datetime
    heartbeat_at: datetime
    lease_expires_at: datetime

    @property
    def done(self) -> int:
        """Rows whose outcome is written."""
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """Status of a batch job at the server's time `now`. `rows_per_s` is the rate of the last minute."""

    now: datetime
    table: ClaimTable
    counts: RowCounts
    set_aside: int
    claimable: int
    running: tuple[RunningBatch, ...]
    rows_per_s: float
    next_due: datetime | None
    last_due: datetime | None
    failures: Failures
    last_check: LastCheck | None
    hold: CurrentHold | None

    @property
    def time_left(self) -> timedelta | None:
        """Estimated time until all rows are done, None without a rate."""
        last_due = self.last_due
        return time_left(self.counts, self.rows_per_s, last_due - self.now if last_due else None)


@asynccontextmanager
async def open_database(settings: PgSettings) -> AsyncIterator[Connection]:
    """Connect for the duration of the block, with all errors translated. Raises `JobError`."""
    with translate_all_errors():
        async with open_connection(settings, name="keda-jobs-cli") as connection:
            yield connection


async def estimate_rows(connection: Connection, table: ClaimTable) -> int | None:
    """Return the number of rows that PostgreSQL's statistics tell, None without statistics."""
    async with connection.transaction():
        rows = int(await connection.fetchval(_ESTIMATE, table.sql_name))
    return rows if rows >= 0 else None


async def find_queue_and_time(connection: Connection, batch_name: str | None) -> tuple[ClaimTable, datetime]:
    """Return the queue, as `find_queue` does, and the server's time."""
    async with connection.transaction():
        return await find_queue(connection, batch_name), await connection.fetchval("SELECT now()")


class StatusReader:
    """Reader of a status that changes. It reads no rows but the failed ones, and those only now and then."""

    def __init__(self, settings: PgSettings, batch_name: str | None) -> None:
        self._settings = settings
        self._batch_name = batch_name
        self._failures: Failures | None = None
        self._given_up = 0

    async def read(self) -> BatchStatus:
        """Read the status now. Raises `DatabaseUnavailable`, `Misconfigured`."""
        async with open_database(self._settings) as connection:
            return await self.read_through(connection)

    async def read_through(self, connection: Connection) -> BatchStatus:
        """Read the status through a connection that is open, whose errors are translated."""
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            now: datetime = await connection.fetchval("SELECT now()")
            table = await find_queue(connection, self._batch_name)
            batches, ranges = await read_batches(connection, table), await read_ranges(connection, table)
            failures = await self._read_failures(connection, table, now, batches)
            running = await connection.fetch(_RUNNING.format(table.batches))
            return BatchStatus(
                now=now,
                table=table,
                counts=self._counts(batches, ranges, failures),
                set_aside=ranges.set_aside,
                claimable=await read_claimable(connection, table),
                running=tuple(RunningBatch(*row) for row in running),
                rows_per_s=await connection.fetchval(_RATE.format(table.batches), _RATE_INTERVAL),
                next_due=ranges.next_due,
                last_due=ranges.last_due,
                failures=failures,
                last_check=await read_last_check(connection, table),
                hold=await read_hold(connection, table),
            )

    async def _read_failures(
        self, connection: Connection, table: ClaimTable, now: datetime, batches: BatchTotals
    ) -> Failures:
        known = self._failures
        if known is None or (now - known.at).total_seconds() > _PAUSE_PER_READ * known.duration_s:
            self._failures = known = await read_failures(connection, table, now)
            self._given_up = batches.given_up
        return known

    def _counts(self, batches: BatchTotals, ranges: RangeTotals, failures: Failures) -> RowCounts:
        return RowCounts(
            pending=ranges.pending,
            processing=batches.processing,
            completed=batches.completed,
            waiting=ranges.waiting,
            failed_permanently=max(0, failures.permanently + batches.given_up - self._given_up),
        )
