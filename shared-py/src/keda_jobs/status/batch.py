"""Status of a batch job, read from the database in one snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.claims import ClaimTable
from keda_jobs.postgres import Connection, open_connection, translate_all_errors
from keda_jobs.settings import PgSettings
from keda_jobs.status.queues import find_queue, read_claimable
from keda_jobs.status.row_counts import (
    FullCount,
    QueueTotals,
    RowCounts,
    apply_delta,
    count_rows,
    read_totals,
    time_left,
)

_RATE_INTERVAL = timedelta(seconds=60)
_MANY_ROWS = 5_000_000
# A full count may take at most a hundredth of the time of a watch.
_PAUSE_PER_COUNT = 100

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
    claimable: int
    running: tuple[RunningBatch, ...]
    rows_per_s: float
    totals: QueueTotals
    full_count: FullCount

    @property
    def time_left(self) -> timedelta | None:
        """Estimated time until all rows are done, None without a rate."""
        last_due = self.totals.last_due
        return time_left(self.counts, self.rows_per_s, last_due - self.now if last_due else None)


@asynccontextmanager
async def open_database(settings: PgSettings) -> AsyncIterator[Connection]:
    """Connect for the duration of the block, with all errors translated. Raises `JobError`."""
    with translate_all_errors():
        async with open_connection(settings, name="keda-jobs-cli") as connection:
            yield connection


async def announce_full_scan(connection: Connection, table: ClaimTable, announce: Callable[[str], None]) -> None:
    """Announce that all rows are read, if that takes more than a second or two."""
    async with connection.transaction():
        rows = await connection.fetchval(_ESTIMATE, table.sql_name)
    if rows >= _MANY_ROWS:
        announce(f"reading about {rows:,} rows of {table.name}")


async def find_queue_and_time(connection: Connection, batch_name: str | None) -> tuple[ClaimTable, datetime]:
    """Return the queue, as `find_queue` does, and the server's time."""
    async with connection.transaction():
        return await find_queue(connection, batch_name), await connection.fetchval("SELECT now()")


class StatusReader:
    """Reader of a status that changes. It reads all rows the first time, and again for the reasons of new failures."""

    def __init__(self, settings: PgSettings, batch_name: str | None) -> None:
        self._settings = settings
        self._batch_name = batch_name
        self._full_count: FullCount | None = None

    async def read(self, announce: Callable[[str], None]) -> BatchStatus:
        """Read the status now, and announce a full scan. Raises `DatabaseUnavailable`, `Misconfigured`."""
        async with (
            open_database(self._settings) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            now: datetime = await connection.fetchval("SELECT now()")
            table = await find_queue(connection, self._batch_name)
            totals = await read_totals(connection, table)
            counts = self._known_counts(totals.counts, now)
            if counts is None or self._full_count is None:
                await announce_full_scan(connection, table, announce)
                self._full_count = await count_rows(connection, table, totals.counts, now)
                counts = self._full_count.counts
            running = await connection.fetch(_RUNNING.format(table.batches))
            return BatchStatus(
                now=now,
                table=table,
                counts=counts,
                claimable=await read_claimable(connection, table),
                running=tuple(RunningBatch(*row) for row in running),
                rows_per_s=await connection.fetchval(_RATE.format(table.batches), _RATE_INTERVAL),
                totals=totals,
                full_count=self._full_count,
            )

    def _known_counts(self, totals: RowCounts, now: datetime) -> RowCounts | None:
        """Return the counts if they are known without reading all rows."""
        known = self._full_count
        counts = apply_delta(known.counts, known.totals, totals) if known else None
        if known is None or counts is None or counts.failed == known.counts.failed:
            return counts
        pause_elapsed = (now - known.at).total_seconds() > _PAUSE_PER_COUNT * known.duration_s
        return None if pause_elapsed else counts
