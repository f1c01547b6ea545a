"""Values that a claim queue gives to a worker and takes from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from operator import add
from typing import Any, NamedTuple, Self

from keda_jobs.domain.emitted import EncodedEvent
from keda_jobs.domain.policy import Dead, Retry


class QueueHold(NamedTuple):
    """Hold of a queue: for `delay_s` seconds from now no worker starts a row, because of `reason`."""

    delay_s: float
    reason: str


class ClaimedRow(NamedTuple):
    """A claimed row: its key, the number of earlier attempts, and the columns that the job reads."""

    key: int
    attempts: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Claimed rows, owned for as long as the lease is renewed. The claim gave each row an `xmin` of `versions`.

    The worker that had the rows of a suspect batch died over them.
    """

    batch_id: int
    versions: Sequence[str]
    rows: Sequence[ClaimedRow]
    is_suspect: bool = False


class CompletedRow(NamedTuple):
    """A completed row, with `values` in the order of the columns that the job writes, and the events to send first."""

    row: ClaimedRow
    values: tuple[Any, ...]
    events: tuple[EncodedEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed row, retried in `delay_s` seconds, or never where that is None. `values` are those that the job read."""

    key: int
    error: str
    delay_s: float | None
    values: tuple[Any, ...] = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, row: ClaimedRow, decision: Retry | Dead) -> Self:
        """Build the failure of `row` from the policy's decision."""
        delay_s = decision.delay_s if isinstance(decision, Retry) else None
        return cls(row.key, decision.reason, delay_s, row.values)


@dataclass(frozen=True, slots=True)
class SettledRows:
    """Numbers of rows whose outcome was written. `failed` includes `failed_permanently`."""

    completed: int = 0
    failed: int = 0
    failed_permanently: int = 0

    @property
    def rows(self) -> int:
        """Number of all of them."""
        return self.completed + self.failed

    def __add__(self, other: SettledRows) -> SettledRows:
        return SettledRows(*map(add, astuple(self), astuple(other)))
