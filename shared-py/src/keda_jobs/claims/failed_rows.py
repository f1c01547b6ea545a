"""Failed rows of a claim queue: find them, and reset them to pending.

A reset is recorded in `batch_jobs` as a closed batch, which subtracts its rows from the counts of failed rows. So the
sum over all batches stays the number of rows that failed permanently.
"""
# ruff: noqa: S608 - names are quoted by ClaimTable

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from keda_jobs.claims.locks import find_holders, find_table_holders
from keda_jobs.claims.statements import BY_INDEX, BY_KEYS, SET_LOCAL, held_by_python
from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection, StatementBlocked, StatementGivenUp, StatementRefused, translate_errors
from keda_jobs.runtime.shutdown import cancel_on

POD_NAME = "keda-jobs batch retry"
"""The `pod_name` of resets in `batch_jobs`."""

# Exact times are read and written as text, in one form whatever the database prefers.
_IN_KEY_ORDER = {**BY_INDEX, "enable_sort": "off", "datestyle": "ISO, YMD", "timezone": "UTC"}
# A running claim takes less. Longer waits are for somebody who may be idle, whose rows are left out. A statement that
# takes too long is repeated on halves, so that a row that hangs in a trigger is left out too.
_RESET = {**BY_KEYS, "datestyle": "ISO, YMD", "lock_timeout": "2s", "statement_timeout": "10s"}

IS_FAILED = "(error IS NOT NULL OR next_attempt_at = 'infinity') AND batch_status = 'failed'"
"""Condition for failed rows. Its first part is that of an index, which names no status."""

ELLIPSIS = "..."
"""Text in a reason in place of a value. In a filter it stands for any text, so that a reason selects its rows."""

# A transaction of this many rows takes some tenths of a second.
_RESET_ROWS = 5000

_KEY = re.compile(r"-?\d{1,19}", re.ASCII)
_MAX_KEY = 2**63 - 1


class FailedRow(NamedTuple):
    """A failed row, retried at `next_attempt_at`, or never where that is None.

    Python cannot hold each time that PostgreSQL can. `moment` is the exact time, as PostgreSQL writes it.
    """

    key: int
    attempts: int
    next_attempt_at: datetime | None
    batch_id: int | None
    error: str | None
    moment: str | None


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Selection of failed rows. Empty fields select all. `reason` is a part of the error's text, with `ELLIPSIS`."""

    keys: frozenset[int] = frozenset()
    reason: str | None = None
    failed_permanently: bool | None = None

    @property
    def is_everything(self) -> bool:
        """True when every failed row is selected."""
        return self == RowFilter()

    @property
    def arguments(self) -> tuple[object, ...]:
        """Values of the statements' first parameters."""
        return sorted(self.keys) or None, self._pattern, self.failed_permanently

    @property
    def _pattern(self) -> str | None:
        """Pattern of `LIKE`, with what has a meaning there taken literally."""
        if self.reason is None:
            return None
        parts = [re.sub(r"([\\%_])", r"\\\1", part) for part in self.reason.split(ELLIPSIS)]
        return "%" + "%".join(parts) + "%"


def parse_keys(texts: Iterable[str]) -> frozenset[int]:
    """Return the keys of rows that somebody has typed. Raises `Misconfigured`."""
    keys = list(texts)
    for key in keys:
        if not _KEY.fullmatch(key) or abs(int(key)) > _MAX_KEY:
            raise Misconfigured(f"{key!r} is not the key of a row, which is an integer")
    return frozenset(map(int, keys))


class FailedRowCount(NamedTuple):
    """Number of failed rows, `permanently` of which are not retried."""

    rows: int
    permanently: int

    @property
    def waiting(self) -> int:
        """Number of rows that wait for a retry."""
        return self.rows - self.permanently


class FailedRows:
    """Failed rows of one queue. Methods raise `DatabaseUnavailable` and `Misconfigured`."""

    def __init__(self, connection: Connection, table: ClaimTable) -> None:
        self._connection = connection
        self._table = table
        self._sql = _Statements(table)
        self._batch_id: int | None = None
        self.locked = Counter[str]()
        """Number of rows that `reset_all` left out because somebody has locked them, by who that is."""

    async def count(self, row_filter: RowFilter) -> FailedRowCount:
        """Count the selected rows. This reads the failed rows of the table, and no others."""
        async with self._transaction(BY_INDEX):
            [record] = await self._connection.fetch(self._sql.count, *row_filter.arguments)
            return FailedRowCount(*record)

    async def find(self, row_filter: RowFilter, most: int, *, after: int | None = None) -> list[FailedRow]:
        """Return the first `most` selected rows after the key `after`, in key order."""
        async with self._transaction(_IN_KEY_ORDER):
            records = await self._connection.fetch(self._sql.find, *row_filter.arguments, after, most)
            return [FailedRow(*record) for record in records]

    async def pages(
        self, row_filter: RowFilter, size: int, limit: int | None = None
    ) -> AsyncGenerator[list[FailedRow]]:
        """Yield the selected rows, or the first `limit`, in pages of `size` rows."""
        after, left = None, limit
        while most := size if left is None else min(size, left):
            page = await self.find(row_filter, most, after=after)
            if page:
                yield page
            if len(page) < most:
                return
            after, left = page[-1].key, None if left is None else left - most

    async def reset_all(self, row_filter: RowFilter, stop: asyncio.Event) -> AsyncGenerator[int]:
        """Reset the selected rows in transactions of 5000, until `stop` is set. Yield the number reset so far."""
        reset = 0
        async with aclosing(self.pages(row_filter, _RESET_ROWS)) as pages:
            while rows := await cancel_on(stop, anext(pages, None)):
                reset += await self._reset_most(rows)
                yield reset

    async def _reset_most(self, rows: Sequence[FailedRow]) -> int:
        """Reset rows, without those that are locked, refused or take too long. Return the number reset."""
        try:
            return (await self.reset(rows)).rows
        except StatementBlocked as error:
            free = await self._leave_out_locked(rows, error)
            return await self._reset_most(free) if free else 0
        except (StatementRefused, StatementGivenUp):
            half = len(rows) // 2
            return await self._reset_most(rows[:half]) + await self._reset_most(rows[half:]) if half else 0

    async def _leave_out_locked(self, rows: Sequence[FailedRow], error: StatementBlocked) -> list[FailedRow]:
        """Return the rows that nobody has locked. Raises `StatementBlocked` where it is no row that is locked."""
        async with self._transaction(_RESET):
            free = await self._find_free(rows)
            locked = [row.key for row in rows if row.key not in free]
            holders = await find_holders(self._connection, self._table, locked)
            table = await find_table_holders(self._connection, self._table)
        if not locked:
            raise StatementBlocked(f"{error}; {self._table.name} is locked by {table or 'another transaction'}")
        self.locked.update(holders.values())
        return [row for row in rows if row.key in free]

    async def _find_free(self, rows: Sequence[FailedRow]) -> set[int]:
        """Return the keys of rows that nobody has locked, nor their ranges."""
        keys, _, _, batches, _, moments = zip(*rows, strict=True)
        return {record[0] for record in await self._connection.fetch(self._sql.free, keys, moments, batches)}

    async def reset(self, rows: Sequence[FailedRow]) -> FailedRowCount:
        """Set rows to pending with no attempts, unless they have changed since they were found."""
        keys, _, _, batches, _, moments = zip(*rows, strict=True)
        async with self._transaction(_RESET):
            batch_id = self._batch_id or await self._connection.fetchval(
                self._sql.insert_batch, self._table.batch_name, POD_NAME
            )
            # Ranges before rows, as claims do: a waiting row may be changed only under the lock of its range.
            await self._connection.execute(self._sql.lock, keys, moments, batches)
            [(reset, permanently, waited)] = await self._connection.fetch(
                self._sql.reset, keys, moments, batches, batch_id
            )
            count = FailedRowCount(reset, permanently)
            if waited:
                waiting = frozenset(waited)
                left = [(row.key, row.moment, row.batch_id) for row in rows if row.key in waiting]
                await self._connection.execute(self._sql.leave, *zip(*left, strict=True))
            if count.rows or self._batch_id:
                await self._connection.execute(self._sql.add_counts, batch_id, count.rows, count.permanently)
            else:
                await self._connection.execute(self._sql.delete_batch, batch_id)
        if count.rows:
            self._batch_id = batch_id
        return count

    @asynccontextmanager
    async def _transaction(self, settings: Mapping[str, str]) -> AsyncIterator[None]:
        with translate_errors():
            # Each statement sees what others have committed, whatever isolation level is the default.
            async with self._connection.transaction(isolation="read_committed"):
                await self._connection.execute(SET_LOCAL, list(settings), list(settings.values()))
                yield


class _Statements:
    def __init__(self, table: ClaimTable) -> None:
        self._write_find(table)
        self._write_reset(table)
        self._write_batch(table)

    def _write_find(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        # Those that are set aside have a newer reason in the queue.
        aside = f"SELECT lo FROM {queue} WHERE error IS NOT NULL AND batch_id IS NULL AND batch_status = 'failed'"
        selected = f"""{IS_FAILED} AND {key} <> ALL(ARRAY({aside}))
  AND ($1::bigint[] IS NULL OR {key} = ANY($1)) AND ($2::text IS NULL OR error LIKE $2)
  AND ($3::boolean IS NULL OR (next_attempt_at = 'infinity') = $3)"""
        self.count = f"""
SELECT count(*), count(*) FILTER (WHERE next_attempt_at = 'infinity') FROM {name} WHERE {selected}"""
        self.find = f"""
SELECT {key}, attempts, CASE WHEN next_attempt_at < 'infinity' THEN {held_by_python("next_attempt_at")} END,
  batch_id, error, nullif(next_attempt_at, 'infinity')::text
FROM {name}
WHERE {selected} AND ($4::bigint IS NULL OR {key} > $4) ORDER BY {key} LIMIT $5"""

    def _write_reset(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        found = """
$1::bigint[], $2::text[]::timestamptz[], array_fill('failed'::text, ARRAY[cardinality($1::bigint[])]), $3::bigint[]"""
        self.lock = f"""
SELECT FROM {queue} WHERE batch_id IS NULL AND range_id = ANY(ARRAY(
  SELECT found_id FROM {queue}_find({found})
)) ORDER BY range_id FOR UPDATE"""
        self.free = f"""
WITH found AS MATERIALIZED (
  SELECT found_id, found_keys FROM {queue}_find({found})
), free AS MATERIALIZED (
  SELECT range_id FROM {queue} WHERE batch_id IS NULL AND range_id = ANY(ARRAY(SELECT found_id FROM found))
  FOR UPDATE SKIP LOCKED
)
SELECT {key} FROM {name} WHERE {key} = ANY($1) AND {key} <> ALL(ARRAY(
  SELECT unnest(found_keys) FROM found WHERE found_id NOT IN (SELECT range_id FROM free)
)) FOR NO KEY UPDATE SKIP LOCKED"""
        self.reset = f"""
WITH reset AS (
  UPDATE {name} AS row SET
    batch_status = 'pending', attempts = 0, next_attempt_at = now(), error = NULL, batch_id = $4
  FROM unnest($1::bigint[], $2::text[]::timestamptz[], $3::bigint[]) AS found (key, next_attempt_at, batch_id)
  WHERE row.{key} = found.key AND row.{key} = ANY($1) AND row.batch_status = 'failed'
    AND row.next_attempt_at = coalesce(found.next_attempt_at, 'infinity')
    AND row.batch_id IS NOT DISTINCT FROM found.batch_id
  RETURNING row.{key}::bigint AS key, row.next_attempt_at, found.next_attempt_at AS waited_for
), queued AS (
  INSERT INTO {queue} (lo, hi, claimable, next_attempt_at, from_batch, latest, keys, times)
  SELECT range.lo, range.hi, range.claimable, range.next_attempt_at, $4, range.latest, range.keys, range.times
  FROM (SELECT array_agg(key) AS keys, array_agg(next_attempt_at) AS times FROM reset) AS again,
    keda_jobs.batch_pack(again.keys, again.times) AS range
)
SELECT count(*), count(*) FILTER (WHERE waited_for IS NULL), array_agg(key) FILTER (WHERE waited_for IS NOT NULL)
FROM reset"""
        self.leave = f"SELECT {queue}_leave({found})"

    def _write_batch(self, table: ClaimTable) -> None:
        self.insert_batch = f"""
INSERT INTO {table.batches} (batch_name, pod_name, status, lease_expires_at, finished_at)
VALUES ($1, $2, 'completed', now(), now()) RETURNING batch_id"""
        self.add_counts = f"""
UPDATE {table.batches} SET
  claimed = claimed + $2, returned = returned + $2, failed = failed - $3, given_up = given_up - $3,
  finished_at = clock_timestamp(), heartbeat_at = clock_timestamp()
WHERE batch_id = $1"""
        self.delete_batch = f"DELETE FROM {table.batches} WHERE batch_id = $1"
