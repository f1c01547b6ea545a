"""Counts a queue's rows: by reading them all, and by what the queue says of itself."""
# ruff: noqa: S608 - names come from ClaimTable, which lets only identifiers in

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.statements import SET_LOCAL
from keda_jobs.postgres import Connection
from keda_jobs.status.progress import Counts
from keda_jobs.status.queues import read_batches, read_ranges

_MOST_REASONS = 10

# Texts that differ in a value only are one reason: quoted text, unless it is a plain word, and what looks like an
# address, a path, a long number or an id, become ….
_VALUE = "|".join(
    (
        r"'[^']*[^A-Za-z_'][^']*'",
        r'"[^"]*[^A-Za-z_"][^"]*"',
        r"\S+[@/]\S*",
        r"\S*[@/]\S+",
        r"\S*(\d{4}|[0-9a-f]{8}-)\S*",
    )
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Failed rows with the same error, but for values in it; `given_up` of them for good."""

    reason: str
    rows: int
    given_up: int


@dataclass(frozen=True, slots=True)
class Counted:
    """The rows as they were at `at`, the commonest reasons of failures first, and the queue's totals of then."""

    at: datetime
    duration_s: float
    counts: Counts
    totals: Counts
    reasons: tuple[Reason, ...]
    other_reasons: int


@dataclass(frozen=True, slots=True)
class QueueTotals:
    """What the queue says of its rows, and when the next and the last waiting retry is due."""

    counts: Counts
    next_due: datetime | None
    last_due: datetime | None


async def read_totals(connection: Connection, table: ClaimTable) -> QueueTotals:
    """The totals in the snapshot of the transaction."""
    batches, ranges = await read_batches(connection, table), await read_ranges(connection, table)
    counts = Counts(
        pending=ranges.pending,
        processing=batches.processing,
        completed=batches.completed,
        waiting=ranges.waiting,
        given_up=batches.given_up,
    )
    return QueueTotals(counts, ranges.next_due, ranges.last_due)


async def count(connection: Connection, table: ClaimTable, totals: Counts, now: datetime) -> Counted:
    """The rows by status and reason, in one pass over the table, in the transaction's snapshot, as `totals` are."""
    began = time.monotonic()
    # There are few reasons, and the planner, who knows nothing of that, may sort the table instead.
    await connection.execute(SET_LOCAL, ["enable_sort"], ["off"])
    rows = await connection.fetch(_by_reason(table), _MOST_REASONS, _VALUE)
    failed = [row for row in rows if row["batch_status"] == "failed"]
    of_status = {row["batch_status"]: row["of_status"] for row in rows}
    given_up = failed[0]["given_up_of_status"] if failed else 0
    return Counted(
        at=now,
        duration_s=time.monotonic() - began,
        counts=Counts(
            pending=of_status.get("pending", 0),
            processing=of_status.get("processing", 0),
            completed=of_status.get("completed", 0),
            waiting=of_status.get("failed", 0) - given_up,
            given_up=given_up,
        ),
        totals=totals,
        reasons=tuple(Reason(row["reason"], row["rows"], row["given_up"]) for row in failed),
        other_reasons=failed[0]["reasons"] - len(failed) if failed else 0,
    )


def _by_reason(table: ClaimTable) -> str:
    return f"""
SELECT * FROM (
  SELECT *,
    row_number() OVER (PARTITION BY batch_status ORDER BY rows DESC, reason) AS place,
    count(*) OVER of_status AS reasons,
    (sum(rows) OVER of_status)::bigint AS of_status,
    (sum(given_up) OVER of_status)::bigint AS given_up_of_status
  FROM (
    SELECT
      batch_status,
      CASE WHEN batch_status = 'failed' THEN coalesce(left(regexp_replace(error, $2, '…', 'g'), 200), '') END AS reason,
      count(*) AS rows,
      count(*) FILTER (WHERE batch_status = 'failed' AND next_attempt_at = 'infinity') AS given_up
    FROM {table.name} GROUP BY 1, 2
  ) AS reasons
  WINDOW of_status AS (PARTITION BY batch_status)
) AS ranked WHERE place <= $1 ORDER BY batch_status, place"""
