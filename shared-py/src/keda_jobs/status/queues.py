"""State of the claim queues by their own records. The rows are not read, because there may be many millions."""
# ruff: noqa: S608 - names are quoted by ClaimTable

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.failed_rows import POD_NAME
from keda_jobs.claims.registry import list_queues
from keda_jobs.claims.statements import held_by_python
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection

# A batch of `keda-jobs batch retry` subtracts the rows that it resets. It is left out of the totals that only grow.
_BATCHES = """
SELECT
  coalesce(sum(claimed - completed - failed - returned) FILTER (WHERE status = 'running'), 0)::bigint AS processing,
  coalesce(sum(given_up), 0)::bigint AS given_up,
  coalesce(sum(completed), 0)::bigint AS completed,
  coalesce(sum(failed) FILTER (WHERE pod_name <> $1), 0)::bigint AS failed,
  coalesce(sum(returned) FILTER (WHERE pod_name <> $1), 0)::bigint AS returned,
  count(*) FILTER (WHERE status = 'running') AS running,
  count(*) FILTER (WHERE status = 'running' AND lease_expires_at <= now()) AS stale,
  min(heartbeat_at) FILTER (WHERE status = 'running') AS oldest_heartbeat,
  coalesce(sum(batches) FILTER (WHERE status = 'completed' AND pod_name <> $1), 0)::bigint AS batches_completed,
  coalesce(sum(batches) FILTER (WHERE status = 'failed'), 0)::bigint AS batches_failed,
  coalesce(sum(batches) FILTER (WHERE status = 'abandoned'), 0)::bigint AS batches_abandoned
FROM {}"""


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """Totals of a queue's batches, from `batch_jobs`.

    `processing` are rows in that state now. `completed`, `failed` and `returned` count every time that a worker settled
    a row so. `given_up` are those that failed permanently, less those that `keda-jobs batch retry` put back. What
    others do to settled rows is in none of them. `stale` are the `running` batches with an expired lease.
    """

    processing: int
    given_up: int
    completed: int
    failed: int
    returned: int
    running: int
    stale: int
    oldest_heartbeat: datetime | None
    batches_completed: int
    batches_failed: int
    batches_abandoned: int


@dataclass(frozen=True, slots=True)
class RangeTotals:
    """Rows that no batch holds: `pending`, or `waiting` after a failure.

    Of both, `not_due` cannot be claimed yet, among them those that are `set_aside` with a reason.
    Of these, `set_aside_permanently` are not tried again.
    """

    pending: int
    waiting: int
    not_due: int
    set_aside: int
    set_aside_permanently: int
    next_due: datetime | None
    last_due: datetime | None


@dataclass(frozen=True, slots=True)
class CurrentHold:
    """Hold of a queue: no worker claims a row before `until`, because a service that the job needs asked for it."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class LastCheck:
    """Result of the last `keda-jobs batch check`: rows that no worker gets.

    Checks ran on `days` of the last 30 days, which tells a scheduler from a check by hand.
    """

    checked_at: datetime
    stranded_rows: int
    days: int


async def find_queue(connection: Connection, batch_name: str | None) -> ClaimTable:
    """Return the queue of that batch job, or the only one. Raises `Misconfigured`, with the choices."""
    queues = {table.batch_name: table for table in await list_queues(connection)}
    if not queues:
        raise Misconfigured("the database has no claim queue; apply the job's schema first")
    if batch_name is None and len(queues) > 1:
        raise Misconfigured(f"the database has several batch jobs; pass one of {', '.join(queues)}")
    if batch_name is not None and batch_name not in queues:
        raise Misconfigured(f"there is no batch job {batch_name}; pass one of {', '.join(queues)}")
    return queues[batch_name or next(iter(queues))]


async def read_claimable(connection: Connection, table: ClaimTable) -> int:
    """Read the number of claimable rows, which is what the scaler sees."""
    return int(await connection.fetchval(f"SELECT rows FROM {table.claimable}"))


async def read_batches(connection: Connection, table: ClaimTable) -> BatchTotals:
    """Read the totals in one pass over `batch_jobs`, which has a row for each claim of the last 30 days."""
    [row] = await connection.fetch(_BATCHES.format(table.batch_totals), POD_NAME)
    return BatchTotals(**row)


async def read_failed_permanently(connection: Connection, table: ClaimTable, batches: BatchTotals) -> int:
    """Count the rows that have failed permanently, or go by the batches where more than 100 000 rows have failed."""
    counted = await connection.fetchval(f"SELECT {table.failed_permanently}()")
    return max(0, batches.given_up) if counted is None else int(counted)


async def read_ranges(connection: Connection, table: ClaimTable) -> RangeTotals:
    """Read the totals in one pass over the queue, which has a row for up to 20 000 rows of the table."""
    [row] = await connection.fetch(
        f"""
SELECT
  coalesce(sum(claimable) FILTER (WHERE batch_status <> 'failed'), 0)::bigint AS pending,
  coalesce(sum(claimable) FILTER (WHERE batch_status = 'failed'), 0)::bigint AS waiting,
  coalesce(sum(claimable) FILTER (WHERE greatest(next_attempt_at, held_back_until) > now()), 0)::bigint AS not_due,
  coalesce(sum(claimable) FILTER (WHERE error IS NOT NULL), 0)::bigint AS set_aside,
  coalesce(sum(claimable) FILTER (WHERE held_back_until = 'infinity'), 0)::bigint AS set_aside_permanently,
  min({held_by_python("next_attempt_at")}) FILTER (WHERE batch_status = 'failed') AS next_due,
  max({held_by_python("next_attempt_at")}) FILTER (WHERE batch_status = 'failed') AS last_due
FROM {table.queue} WHERE batch_id IS NULL"""
    )
    return RangeTotals(**row)


async def read_hold(connection: Connection, table: ClaimTable) -> CurrentHold | None:
    """Read the hold of the queue, if there is one."""
    found = await connection.fetch(f"SELECT held_until, reason FROM {table.held}")
    return CurrentHold(*found[0]) if found else None


async def read_last_check(connection: Connection, table: ClaimTable) -> LastCheck | None:
    """Read the last check of the queue, if there was one."""
    found = await connection.fetch(
        f"""
SELECT checked_at, stranded_rows, (
  SELECT count(DISTINCT checked_at::date) FROM {table.queue}_checks WHERE checked_at > now() - interval '30 days'
) FROM {table.queue}_checks ORDER BY checked_at DESC LIMIT 1"""
    )
    return LastCheck(*found[0]) if found else None
