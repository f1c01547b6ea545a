"""What claim queues say of their rows. The rows themselves are not read: there may be many millions."""
# ruff: noqa: S608 - names come from ClaimTable, which lets only identifiers in

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.failed_rows import POD_NAME
from keda_jobs.postgres import Connection

_QUEUES = "SELECT batch_name, table_name, key_name FROM batch_queues ORDER BY 1"

# Failed rows that somebody puts back are taken off the counts by a batch of their own. It is left out of what only
# ever grows: what workers did.
_BATCHES = """
SELECT
  coalesce(sum(claimed - completed - failed - returned) FILTER (WHERE status = 'running'), 0)::bigint AS processing,
  coalesce(sum(given_up), 0)::bigint AS given_up,
  coalesce(sum(completed), 0)::bigint AS completed,
  coalesce(sum(failed) FILTER (WHERE pod_name <> $2), 0)::bigint AS failed,
  coalesce(sum(returned) FILTER (WHERE pod_name <> $2), 0)::bigint AS returned,
  count(*) FILTER (WHERE status = 'running') AS running,
  count(*) FILTER (WHERE status = 'running' AND lease_expires_at <= now()) AS stale,
  min(heartbeat_at) FILTER (WHERE status = 'running') AS oldest_heartbeat,
  count(*) FILTER (WHERE status = 'completed' AND pod_name <> $2) AS batches_completed,
  count(*) FILTER (WHERE status = 'failed') AS batches_failed,
  count(*) FILTER (WHERE status = 'abandoned') AS batches_abandoned
FROM batch_jobs WHERE batch_name = $1"""


@dataclass(frozen=True, slots=True)
class Batches:
    """What `batch_jobs` says of a queue.

    `processing` and `given_up` are rows that are so now; `completed`, `failed` and `returned` count each time that a
    worker ended so with a row. `stale` are those of the `running` whose lease is over.
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
class Ranges:
    """The rows that no batch holds: `pending`, or `waiting` after a failure; of both, those `not_due` yet."""

    pending: int
    waiting: int
    not_due: int
    next_due: datetime | None
    last_due: datetime | None


async def claim_queues(connection: Connection) -> list[ClaimTable]:
    """Every queue of the database, by the name of its batch job."""
    has_any = await connection.fetchval("SELECT to_regclass('batch_queues') IS NOT NULL")
    return [ClaimTable(*row) for row in await connection.fetch(_QUEUES)] if has_any else []


async def read_claimable(connection: Connection, table: ClaimTable) -> int:
    """The number that the scaler sees."""
    return int(await connection.fetchval(f"SELECT rows FROM {table.claimable}"))


async def read_batches(connection: Connection, table: ClaimTable) -> Batches:
    """In one pass over `batch_jobs`, which has a row for each claim."""
    [row] = await connection.fetch(_BATCHES, table.batch_name, POD_NAME)
    return Batches(**row)


async def read_ranges(connection: Connection, table: ClaimTable) -> Ranges:
    """In one pass over the queue, which has a row for up to 20 000 rows of the table."""
    [row] = await connection.fetch(
        f"""
SELECT
  coalesce(sum(claimable) FILTER (WHERE batch_status = 'pending'), 0)::bigint AS pending,
  coalesce(sum(claimable) FILTER (WHERE batch_status = 'failed'), 0)::bigint AS waiting,
  coalesce(sum(claimable) FILTER (WHERE next_attempt_at > now()), 0)::bigint AS not_due,
  min(next_attempt_at) FILTER (WHERE batch_status = 'failed') AS next_due,
  max(next_attempt_at) FILTER (WHERE batch_status = 'failed') AS last_due
FROM {table.queue} WHERE batch_id IS NULL"""
    )
    return Ranges(**row)
