"""What `keda-jobs batch status` shows, read from the database in one snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.claims import ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection, open_connection, translate_errors
from keda_jobs.settings import PgSettings
from keda_jobs.status.progress import Counts, apply_delta, time_left
from keda_jobs.status.queues import claim_queues, read_claimable
from keda_jobs.status.row_counts import Counted, QueueTotals, count, read_totals

_LATELY = timedelta(seconds=60)
_MANY_ROWS = 5_000_000
# After a count a watch waits so many times as long as it took before it counts again.
_REST = 100

_ESTIMATE = "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass($1)"

_RUNNING = """
SELECT batch_id, pod_name, claimed, completed, failed, rows_per_s, started_at, heartbeat_at, lease_expires_at
FROM batch_jobs WHERE batch_name = $1 AND status = 'running' ORDER BY batch_id"""

# Of a batch that began before it, the share of its rows that falls into the time since.
_RATE = """
WITH lately AS (
  SELECT
    completed + failed AS rows, started_at, coalesce(finished_at, heartbeat_at) AS ended_at,
    now() - $2::interval AS since
  FROM batch_jobs WHERE batch_name = $1 AND completed + failed > 0
)
SELECT coalesce(
  sum(rows * CASE WHEN started_at >= since THEN 1
    ELSE extract(epoch FROM ended_at - since) / extract(epoch FROM ended_at - started_at) END)
  / greatest(1, extract(epoch FROM now() - greatest(min(since), min(started_at)))), 0)::float8
FROM lately WHERE ended_at > since"""


@dataclass(frozen=True, slots=True)
class Running:
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
        """Its rows that ended, well or not."""
        return self.completed + self.failed


@dataclass(frozen=True, slots=True)
class Status:
    """All of it at the server's time `now`; `rows_per_s` is that of the last minute."""

    now: datetime
    table: ClaimTable
    counts: Counts
    claimable: int
    running: tuple[Running, ...]
    rows_per_s: float
    totals: QueueTotals
    counted: Counted

    @property
    def time_left(self) -> timedelta | None:
        """How long it will take, where that can be told."""
        last_due = self.totals.last_due
        return time_left(self.counts, self.rows_per_s, last_due - self.now if last_due else None)


@asynccontextmanager
async def database(settings: PgSettings) -> AsyncIterator[Connection]:
    """A connection; inside, errors are translate_errors."""
    with translate_errors():
        async with open_connection(settings, name="keda-jobs-cli") as connection:
            yield connection


async def find_queue(connection: Connection, batch_name: str | None) -> ClaimTable:
    """The queue of that batch job, or the only one. Raises `Misconfigured` naming the choices."""
    queues = {table.batch_name: table for table in await claim_queues(connection)}
    if not queues:
        raise Misconfigured("the database has no claim queue; apply the job's schema first")
    if batch_name is None and len(queues) > 1:
        raise Misconfigured(f"say which batch job: {', '.join(queues)}")
    if batch_name is not None and batch_name not in queues:
        raise Misconfigured(f"there is no batch job {batch_name}; there is {', '.join(queues)}")
    return queues[batch_name or next(iter(queues))]


async def announce_long_reading(connection: Connection, table: ClaimTable, announce: Callable[[str], None]) -> None:
    """Say that all rows are read, where that takes more than a second or two."""
    async with connection.transaction():
        rows = await connection.fetchval(_ESTIMATE, table.name)
    if rows >= _MANY_ROWS:
        announce(f"reading about {rows:,} rows of {table.name}")


async def queue_and_time(connection: Connection, batch_name: str | None) -> tuple[ClaimTable, datetime]:
    """The queue, as `find_queue` says, and the server's time."""
    async with connection.transaction():
        return await find_queue(connection, batch_name), await connection.fetchval("SELECT now()")


class StatusReader:
    """Reads the status, again and again; all rows the first time only, or to know the reasons of new failures."""

    def __init__(self, settings: PgSettings, batch_name: str | None, announce: Callable[[str], None]) -> None:
        self._settings = settings
        self._batch_name = batch_name
        self._announce = announce
        self._counted: Counted | None = None

    async def read(self) -> Status:
        """The status now. Raises `DatabaseUnavailable`, `Misconfigured`."""
        async with (
            database(self._settings) as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            now: datetime = await connection.fetchval("SELECT now()")
            table = await find_queue(connection, self._batch_name)
            totals = await read_totals(connection, table)
            counts = self._known_counts(totals.counts, now)
            if counts is None or self._counted is None:
                await announce_long_reading(connection, table, self._announce)
                self._counted = await count(connection, table, totals.counts, now)
                counts = self._counted.counts
            running = await connection.fetch(_RUNNING, table.batch_name)
            return Status(
                now=now,
                table=table,
                counts=counts,
                claimable=await read_claimable(connection, table),
                running=tuple(Running(*row) for row in running),
                rows_per_s=await connection.fetchval(_RATE, table.batch_name, _LATELY),
                totals=totals,
                counted=self._counted,
            )

    def _known_counts(self, totals: Counts, now: datetime) -> Counts | None:
        """The counts, where nothing asks for reading all rows."""
        known = self._counted
        counts = apply_delta(known.counts, known.totals, totals) if known else None
        if known is None or counts is None or counts.failed == known.counts.failed:
            return counts
        has_rested = (now - known.at).total_seconds() > _REST * known.duration_s
        return None if has_rested else counts
