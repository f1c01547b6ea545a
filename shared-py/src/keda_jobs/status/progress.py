"""How far a batch job is: counts by status, kept up to date without counting anew, and when it will end."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows by status; a failed row is `waiting` for a retry or `given_up`."""

    pending: int = 0
    processing: int = 0
    completed: int = 0
    waiting: int = 0
    given_up: int = 0

    @property
    def total(self) -> int:
        """All rows."""
        return self.left + self.done

    @property
    def done(self) -> int:
        """Rows that nobody will touch again."""
        return self.completed + self.given_up

    @property
    def failed(self) -> int:
        """Rows with an error that nobody has got over yet."""
        return self.waiting + self.given_up

    @property
    def left(self) -> int:
        """Rows that are not done."""
        return self.pending + self.processing + self.waiting


def apply_delta(counted: Counts, then: Counts, now: Counts) -> Counts | None:
    """What a count of the rows would give now.

    `then` and `now` are what the queue says of itself, at the moment of the count and now: it says it in the
    transactions that change the rows, so the differences are exact. None when they cannot be: somebody emptied the
    table or its totals.
    """
    counts = Counts(
        *(of_rows + after - before for of_rows, before, after in zip(*map(astuple, (counted, then, now)), strict=True))
    )
    return counts if min(astuple(counts)) >= 0 else None


def time_left(counts: Counts, rows_per_s: float, last_retry_in: timedelta | None) -> timedelta | None:
    """When the rows are done at that rate, the last waiting retry included; None where the rate tells nothing."""
    if not counts.left:
        return timedelta(0)
    if rows_per_s <= 0:
        return None
    return max(timedelta(seconds=counts.left / rows_per_s), last_retry_in or timedelta(0))
