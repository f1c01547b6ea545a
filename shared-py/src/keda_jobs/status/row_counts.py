"""RowCounts of a queue's rows: by reading them all, and by the queue's own totals."""
# ruff: noqa: S608 - names are quoted by ClaimTable

from __future__ import annotations

import time
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta

from keda_jobs.claims import ClaimTable
from keda_jobs.claims.statements import SEE_ALL_ROWS, SET_LOCAL
from keda_jobs.postgres import Connection
from keda_jobs.status.queues import read_batches, read_ranges

_MOST_REASONS = 10

# Errors that differ only in a value are one reason. Quoted text, unless it is a plain word, becomes …, and so does what
# looks like an address, a path, a long number or an id.
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
class RowCounts:
    """Rows by status. A failed row is `waiting` for a retry or `failed_permanently`."""

    pending: int = 0
    processing: int = 0
    completed: int = 0
    waiting: int = 0
    failed_permanently: int = 0

    @property
    def total(self) -> int:
        """All rows."""
        return self.left + self.done

    @property
    def done(self) -> int:
        """Rows that no worker will claim again."""
        return self.completed + self.failed_permanently

    @property
    def failed(self) -> int:
        """Rows whose last attempt failed."""
        return self.waiting + self.failed_permanently

    @property
    def left(self) -> int:
        """Rows that are not done."""
        return self.pending + self.processing + self.waiting


@dataclass(frozen=True, slots=True)
class FailureReason:
    """Rows that failed with the same error, apart from values in it."""

    reason: str
    rows: int
    failed_permanently: int


@dataclass(frozen=True, slots=True)
class FullCount:
    """Count of all rows at the time `at`, the queue's totals of that time, and the commonest failure reasons."""

    at: datetime
    duration_s: float
    counts: RowCounts
    totals: RowCounts
    reasons: tuple[FailureReason, ...]
    other_reasons: int


@dataclass(frozen=True, slots=True)
class QueueTotals:
    """A queue's own totals of its rows, and the times of the next and the last retry."""

    counts: RowCounts
    next_due: datetime | None
    last_due: datetime | None


async def read_totals(connection: Connection, table: ClaimTable) -> QueueTotals:
    """Read the totals in the transaction's snapshot."""
    batches, ranges = await read_batches(connection, table), await read_ranges(connection, table)
    counts = RowCounts(
        pending=ranges.pending,
        processing=batches.processing,
        completed=batches.completed,
        waiting=ranges.waiting,
        failed_permanently=batches.failed_permanently,
    )
    return QueueTotals(counts, ranges.next_due, ranges.last_due)


async def count_rows(connection: Connection, table: ClaimTable, totals: RowCounts, now: datetime) -> FullCount:
    """Count the rows by status and reason in one pass over the table. `totals` are of the same snapshot."""
    began = time.monotonic()
    # The planner does not know that there are few reasons, and may sort the whole table.
    settings = {**SEE_ALL_ROWS, "enable_sort": "off"}
    await connection.execute(SET_LOCAL, list(settings), list(settings.values()))
    rows = await connection.fetch(_by_reason(table), _MOST_REASONS, _VALUE)
    failed = [row for row in rows if row["batch_status"] == "failed"]
    by_status = {row["batch_status"]: row["of_status"] for row in rows}
    permanently = failed[0]["permanently_of_status"] if failed else 0
    return FullCount(
        at=now,
        duration_s=time.monotonic() - began,
        counts=RowCounts(
            pending=by_status.get("pending", 0),
            processing=by_status.get("processing", 0),
            completed=by_status.get("completed", 0),
            waiting=by_status.get("failed", 0) - permanently,
            failed_permanently=permanently,
        ),
        totals=totals,
        reasons=tuple(FailureReason(row["reason"], row["rows"], row["permanently"]) for row in failed),
        other_reasons=failed[0]["reasons"] - len(failed) if failed else 0,
    )


def _by_reason(table: ClaimTable) -> str:
    return f"""
SELECT * FROM (
  SELECT *,
    row_number() OVER (PARTITION BY batch_status ORDER BY rows DESC, reason) AS place,
    count(*) OVER of_status AS reasons,
    (sum(rows) OVER of_status)::bigint AS of_status,
    (sum(permanently) OVER of_status)::bigint AS permanently_of_status
  FROM (
    SELECT
      batch_status,
      CASE WHEN batch_status = 'failed' THEN coalesce(left(regexp_replace(error, $2, '…', 'g'), 200), '') END AS reason,
      count(*) AS rows,
      count(*) FILTER (WHERE batch_status = 'failed' AND next_attempt_at = 'infinity') AS permanently
    FROM {table.sql_name} GROUP BY 1, 2
  ) AS reasons
  WINDOW of_status AS (PARTITION BY batch_status)
) AS ranked WHERE place <= $1 ORDER BY batch_status, place"""


def apply_delta(counted: RowCounts, then: RowCounts, now: RowCounts) -> RowCounts | None:
    """Return what a count of the rows would find now.

    `then` and `now` are the queue's own totals, at the time of the count and now. They change in the transactions that
    change the rows, so the difference is exact. Return None when somebody emptied the table or its totals.
    """
    columns = zip(*map(astuple, (counted, then, now)), strict=True)
    counts = RowCounts(*(rows + after - before for rows, before, after in columns))
    return counts if min(astuple(counts)) >= 0 else None


def time_left(counts: RowCounts, rows_per_s: float, last_retry_in: timedelta | None) -> timedelta | None:
    """Estimate the time until all rows are done, the last retry included. Return None without a rate."""
    if not counts.left:
        return timedelta(0)
    if rows_per_s <= 0:
        return None
    return max(timedelta(seconds=counts.left / rows_per_s), last_retry_in or timedelta(0))
