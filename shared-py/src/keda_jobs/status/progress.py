"""Progress of a batch job: rows by status, kept up to date without counting again, and the time left."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import timedelta


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
