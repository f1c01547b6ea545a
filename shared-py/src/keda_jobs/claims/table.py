"""Description of a claim queue's table."""

from __future__ import annotations

import re
from dataclasses import dataclass

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,40}")

STATUS_COLUMNS = ("batch_status", "attempts", "next_attempt_at", "error", "batch_id")
"""Columns that the queue adds to a table and writes itself."""


_TRIGGERS = (
    "enqueue_inserted", "note_change", "enqueue_changed", "note_deletion", "enqueue_deletion", "forget_truncated",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClaimTable:
    """A table with an integer key, the columns that a job reads, and those that it writes.

    Raises `ValueError` for a name that is not a plain lower-case identifier, and for a written column that belongs to
    the queue.
    """

    batch_name: str
    name: str
    key: str = "id"
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (self.name, self.key, *self.reads, *self.writes):
            if not _IDENTIFIER.fullmatch(name):
                raise ValueError(f"{name!r} is not a plain lower-case name of at most 41 characters")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", self.batch_name):
            raise ValueError(f"{self.batch_name!r} is not a job's name")
        for name in (self.key, *STATUS_COLUMNS):
            if name in self.writes:
                raise ValueError(f"a handler cannot write {name}: it belongs to the queue")

    @property
    def queue(self) -> str:
        """Table of waiting ranges."""
        return f"{self.name}_queue"

    @property
    def due(self) -> str:
        """View of the ranges that are claimable now."""
        return f"{self.name}_queue_due"

    @property
    def expired(self) -> str:
        """View of running batches with an expired lease."""
        return f"{self.name}_queue_expired"

    @property
    def claimable(self) -> str:
        """View of the number of claimable rows, which the scaler reads."""
        return f"{self.name}_claimable"

    @property
    def triggers(self) -> tuple[str, ...]:
        """Triggers of the table that keep the ranges in step with its rows."""
        return tuple(f"{self.name}_{trigger}" for trigger in _TRIGGERS)
