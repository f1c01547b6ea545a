"""Description of a claim queue's table."""

from __future__ import annotations

import re
from dataclasses import dataclass

_MOST_BYTES = 63  # PostgreSQL cuts longer names off
_PLAIN = re.compile(r"[a-z_][a-z0-9_]{0,40}")

STATUS_COLUMNS = ("batch_status", "attempts", "next_attempt_at", "error", "batch_id")
"""Columns that the queue adds to a table and writes itself."""

SCHEMA = "keda_jobs"
"""Schema of the library's own tables, views and functions."""

_TRIGGERS = (
    "enqueue_inserted", "note_change", "enqueue_changed", "note_deletion", "enqueue_deletion", "forget_truncated",
)  # fmt: skip


def quote(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class ClaimTable:
    """A table with an integer key, the columns that a job reads, and those that it writes.

    Names are exact, as PostgreSQL shows them: `Order Lines`, not `"Order Lines"`. Without a `schema` it is the one
    where the table was found when the queue was made. `queue_name` begins the names of the queue's roles, tables,
    views and functions. It is the table's name, or the job's where that is not plain, or not unique for all schemas.
    With `deletes_completed` a row is deleted as soon as it is completed.
    Raises `ValueError` for what cannot be a name, and for a written column that belongs to the queue.
    """

    batch_name: str
    name: str
    key: str = "id"
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    schema: str | None = None
    queue_name: str = ""
    deletes_completed: bool = False

    def __post_init__(self) -> None:
        for name in (self.name, self.key, *self.reads, *self.writes, self.schema):
            if name is not None and (not 0 < len(name.encode()) <= _MOST_BYTES or "\0" in name):
                raise ValueError(f"{name!r} is no name for PostgreSQL: it takes 1 to {_MOST_BYTES} bytes")
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,40}", self.batch_name):
            raise ValueError(f"{self.batch_name!r} is not a job's name")
        for name in (self.key, *STATUS_COLUMNS):
            if name in self.writes:
                raise ValueError(f"a handler cannot write {name}: it belongs to the queue")
        if not self.queue_name:
            is_plain = self.schema is None and _PLAIN.fullmatch(self.name)
            object.__setattr__(self, "queue_name", self.name if is_plain else self.batch_name.replace("-", "_"))

    @property
    def sql_name(self) -> str:
        """Name of the table as SQL, with its schema where that is known."""
        return ".".join(quote(name) for name in (self.schema, self.name) if name is not None)

    @property
    def sql_key(self) -> str:
        """Name of the key as SQL."""
        return quote(self.key)

    @property
    def queue(self) -> str:
        """Table of waiting ranges."""
        return f"{SCHEMA}.{self.queue_name}_queue"

    @property
    def spans(self) -> str:
        """View of the keys that each range holds."""
        return f"{SCHEMA}.{self.queue_name}_queue_spans"

    @property
    def due(self) -> str:
        """View of the ranges that are claimable now."""
        return f"{SCHEMA}.{self.queue_name}_queue_due"

    @property
    def expired(self) -> str:
        """View of running batches with an expired lease."""
        return f"{SCHEMA}.{self.queue_name}_queue_expired"

    @property
    def claimable(self) -> str:
        """View of the number of claimable rows, which the scaler reads."""
        return f"{SCHEMA}.{self.queue_name}_claimable"

    @property
    def held(self) -> str:
        """View of the hold of the queue, empty without one."""
        return f"{SCHEMA}.{self.queue_name}_queue_on_hold"

    @property
    def batches(self) -> str:
        """View of the queue's batches."""
        return f"{SCHEMA}.{self.queue_name}_batches"

    @property
    def batch_totals(self) -> str:
        """View of the queue's batches, with the sums of old ones."""
        return f"{SCHEMA}.{self.queue_name}_batch_totals"

    @property
    def failed_permanently(self) -> str:
        """Function that counts the rows that have failed permanently."""
        return f"{SCHEMA}.{self.queue_name}_failed_permanently"

    @property
    def sum_up_old_batches(self) -> str:
        """Function that shortens `batch_jobs`."""
        return f"{SCHEMA}.{self.queue_name}_sum_up_old_batches"

    @property
    def triggers(self) -> tuple[str, ...]:
        """Triggers of the table that keep the ranges in step with its rows."""
        return tuple(f"{self.queue_name}_{trigger}" for trigger in _TRIGGERS)
