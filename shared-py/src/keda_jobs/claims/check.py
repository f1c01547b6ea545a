"""Comparison of a queue's ranges with the rows of its table, while everybody works on, and repair of what differs.

Each step is one statement, so it sees rows and ranges in one snapshot: a row that moves meanwhile is seen before or
after, never between. A repair locks only the rows and ranges that it mends. It leaves out those that are locked.
"""
# ruff: noqa: S608 - names are quoted by ClaimTable

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import astuple, dataclass
from operator import add

from keda_jobs.claims.binding import check_obstacles
from keda_jobs.claims.statements import BY_INDEX, CHECK_AT_ONCE, SET_LOCAL
from keda_jobs.claims.table import ClaimTable
from keda_jobs.postgres import Connection, StatementGivenUp, StatementRefused, translate_errors
from keda_jobs.runtime.shutdown import cancel_on

WINDOW = 20_000
"""Rows that are compared at once. A repair makes ranges of at most as many."""

_MIN_KEY, _MAX_KEY = -(2**63), 2**63 - 1
# Rows of a window are found in one scan and joined by a hash, whatever the statistics say.
_BY_WINDOW = {**BY_INDEX, "enable_nestloop": "off"}
# Rows of a range are looked up by its keys.
_BY_RANGE = {**BY_INDEX, "enable_hashjoin": "off"}
# An update that takes longer is repeated on halves, so that a row that hangs in a trigger is left out.
_LIMIT = "SET LOCAL statement_timeout = '10s'"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Numbers of rows and ranges, compared so far.

    No worker gets the `stranded_rows`: they wait without a range, or are claimed by a batch that has ended. A claim
    corrects the `wrong_ranges`, which say another number of rows than they have, or are held by a batch that has ended.
    """

    rows: int = 0
    ranges: int = 0
    stranded_rows: int = 0
    wrong_ranges: int = 0
    repaired_rows: int = 0
    repaired_ranges: int = 0

    @property
    def rows_left(self) -> int:
        """Stranded rows that are not repaired."""
        return self.stranded_rows - self.repaired_rows

    def __add__(self, other: CheckResult) -> CheckResult:
        return CheckResult(*map(add, astuple(self), astuple(other)))


class QueueCheck:
    """Check of one queue. Methods raise `DatabaseUnavailable` and `Misconfigured`."""

    def __init__(self, connection: Connection, table: ClaimTable, *, repair: bool) -> None:
        self._connection = connection
        self._table = table
        self._repair = repair
        self._sql = _Statements(table)

    async def run(self, stop: asyncio.Event) -> AsyncGenerator[CheckResult]:
        """Compare the rows and then the ranges, until `stop` is set. Yield the numbers so far, and keep the last.

        Raises `Misconfigured` for a repair while triggers of the queue are off: rows would be stranded again.
        """
        if self._repair:
            async with self._transaction():
                await check_obstacles(self._connection, self._table)
        result = CheckResult()
        # A range that an ended batch holds may be deleted once its rows are queued.
        for steps in (self._compare_rows(), self._compare_ranges()):
            async with aclosing(steps):
                while step := await cancel_on(stop, anext(steps, None)):
                    result += step
                    yield result
        if not stop.is_set():
            async with self._transaction():
                await self._connection.execute(self._sql.record, result.rows_left)
        yield result

    async def _compare_rows(self) -> AsyncGenerator[CheckResult]:
        first = _MIN_KEY
        while True:
            async with self._transaction():
                [(rows, last)] = await self._connection.fetch(self._sql.window, first)
                if not rows:
                    return
                step = await self._compare_window(first, last)
            yield step + CheckResult(rows=rows)
            if last == _MAX_KEY:
                return
            first = last + 1

    async def _compare_window(self, first: int, last: int) -> CheckResult:
        statement = self._sql.queue_stranded if self._repair else self._sql.count_stranded
        [(waiting, queued, claimed)] = await self._connection.fetch(statement, first, last)
        freed = await self._free(claimed) if self._repair and claimed else 0
        return CheckResult(stranded_rows=waiting + len(claimed), repaired_rows=queued + freed)

    async def _free(self, keys: Sequence[int]) -> int:
        """Set claimed rows to pending, except those that are refused or take too long. Return their number."""
        try:
            with translate_errors():
                async with self._connection.transaction():
                    await self._connection.execute(_LIMIT)
                    status = await self._connection.execute(self._sql.free_rows, keys)
            return int(status.removeprefix("UPDATE "))
        except (StatementRefused, StatementGivenUp):
            if len(keys) == 1:
                return 0
            half = len(keys) // 2
            return await self._free(keys[:half]) + await self._free(keys[half:])

    async def _compare_ranges(self) -> AsyncGenerator[CheckResult]:
        last: int | None = 0
        while True:
            async with self._transaction(_BY_RANGE):
                [(last, ranges, wrong)] = await self._connection.fetch(self._sql.compare_ranges, last)
                repaired = await self._recount(wrong) if self._repair and wrong else 0
            if not ranges:
                return
            yield CheckResult(ranges=ranges, wrong_ranges=len(wrong), repaired_ranges=repaired)

    async def _recount(self, range_ids: Sequence[int]) -> int:
        locked = [record[0] for record in await self._connection.fetch(self._sql.lock_ranges, range_ids)]
        await self._connection.execute(self._sql.delete_lost, locked)
        await self._connection.execute(self._sql.recount, locked)
        return len(locked)

    @asynccontextmanager
    async def _transaction(self, plan: Mapping[str, str] = _BY_WINDOW) -> AsyncIterator[None]:
        with translate_errors():
            # Each statement needs a snapshot of its own: one after the locks are got.
            async with self._connection.transaction(isolation="read_committed"):
                await self._connection.execute(SET_LOCAL, list(plan), list(plan.values()))
                if self._repair:
                    await self._connection.execute(CHECK_AT_ONCE)
                    await self._connection.execute(self._sql.lock)
                yield


class _Statements:
    def __init__(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        # Two repairs at once would queue a row twice.
        self.lock = f"SELECT pg_advisory_xact_lock(hashtextextended('{queue}', 0))"
        self.record = f"INSERT INTO {queue}_checks (stranded_rows) VALUES ($1)"
        self.window = f"""
SELECT count(*), max({key}) FROM (
  SELECT {key} FROM {name} WHERE {key} >= $1::bigint ORDER BY {key} LIMIT {WINDOW}
) AS next"""
        self._write_rows(table)
        self._write_ranges(table)

    def _write_rows(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        is_lost = _is_lost(table)
        stranded = _stranded(table)
        counted = "(SELECT count(*) FROM stranded)"
        self.count_stranded = f"{stranded} SELECT {counted}, 0, ARRAY(SELECT key FROM claimed)"
        self.queue_stranded = f"""{stranded}, locked AS MATERIALIZED (
  SELECT stranded.* FROM stranded JOIN {name} AS row
    ON row.{key} = stranded.key AND row.batch_status = stranded.batch_status
    AND row.next_attempt_at = stranded.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM stranded.batch_id
  WHERE row.{key} BETWEEN $1::bigint AND $2::bigint FOR NO KEY UPDATE OF row SKIP LOCKED
), sized AS (
  SELECT *, count(*) OVER (PARTITION BY batch_status, next_attempt_at, batch_id, stretch) >= 100 AS is_long FROM locked
), long AS (
  SELECT * FROM sized WHERE is_long
), short AS (
  SELECT * FROM sized WHERE NOT is_long
), queued AS (
  INSERT INTO {queue} (lo, hi, claimable, batch_status, next_attempt_at, from_batch, latest, keys, times)
  SELECT min(key), max(key), count(*), batch_status, next_attempt_at, batch_id, NULL, NULL, NULL FROM long
  GROUP BY batch_status, next_attempt_at, batch_id, stretch
  UNION ALL
  SELECT range.lo, range.hi, range.claimable, alike.batch_status, range.next_attempt_at, alike.batch_id, range.latest,
    range.keys, range.times
  FROM (
    SELECT batch_status, batch_id, array_agg(key) AS keys, array_agg(next_attempt_at) AS times FROM short GROUP BY 1, 2
  ) AS alike, keda_jobs.batch_pack(alike.keys, alike.times, alone => false) AS range
  RETURNING claimable
)
SELECT {counted}, (SELECT coalesce(sum(claimable), 0) FROM queued), ARRAY(SELECT key FROM claimed)"""
        # Triggers queue the rows.
        self.free_rows = f"""
UPDATE {name} SET batch_status = 'pending' WHERE {key} = ANY(ARRAY(
  SELECT {key} FROM {name} AS row
  WHERE {key} = ANY($1::bigint[]) AND {is_lost} FOR NO KEY UPDATE OF row SKIP LOCKED
))"""

    def _write_ranges(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        is_lost = f"""
range.batch_id IS NOT NULL AND NOT EXISTS (
  SELECT FROM {table.batches} AS batch WHERE batch.batch_id = range.batch_id AND status = 'running'
)"""
        # As many ranges at once as lie over a million keys, because all rows between their ends are read.
        self.compare_ranges = f"""
WITH page AS MATERIALIZED (
  SELECT *, sum(reads) OVER (ORDER BY range_id) - reads AS reads_before
  FROM (
    SELECT *, CASE WHEN keys IS NULL THEN hi::numeric - lo ELSE claimable END AS reads
    FROM {queue} WHERE range_id > $1 ORDER BY range_id LIMIT 1000
  ) AS next
), compared AS (
  SELECT range_id, CASE WHEN batch_id IS NULL THEN claimable <> (
    SELECT count(*) FROM {table.spans} AS span JOIN {name} AS row ON row.{key} BETWEEN span.lo AND span.hi
      AND row.batch_status = span.batch_status AND row.next_attempt_at = span.next_attempt_at
      AND row.batch_id IS NOT DISTINCT FROM span.from_batch
    WHERE span.range_id = range.range_id
  ) ELSE {is_lost} END AS is_wrong
  FROM page AS range WHERE reads_before < 1000000
)
SELECT max(range_id), count(*), coalesce(array_agg(range_id) FILTER (WHERE is_wrong), '{{}}') FROM compared"""
        self.lock_ranges = f"""
SELECT range_id FROM {queue} AS range WHERE range_id = ANY($1) AND (batch_id IS NULL OR {is_lost})
ORDER BY range_id FOR UPDATE OF range SKIP LOCKED"""
        self.delete_lost = f"DELETE FROM {queue} WHERE range_id = ANY($1) AND batch_id IS NOT NULL"
        self.recount = f"SELECT {queue}_recount($1)"


def _is_lost(table: ClaimTable) -> str:
    key, queue = table.sql_key, table.queue
    # A row that its batch could not give back is set aside with the status that it has.
    return f"""
batch_status = 'processing' AND NOT EXISTS (
  SELECT FROM {table.batches} AS batch WHERE batch.batch_id = row.batch_id AND status = 'running'
) AND NOT EXISTS (
  SELECT FROM {queue} AS aside WHERE aside.error IS NOT NULL AND aside.lo = row.{key} AND aside.batch_id IS NULL
    AND aside.batch_status = 'processing' AND aside.from_batch = row.batch_id
)"""


def _stranded(table: ClaimTable) -> str:
    name, key = table.sql_name, table.sql_key
    # The sweep goes over rows and ends of ranges by key, and counts the ranges that are open at each row. Its cost
    # does not depend on how many ranges there are of one kind. A stretch is free of rows that are in a range.
    return f"""
WITH unfinished AS MATERIALIZED (
  SELECT {key}::bigint AS key, batch_status, next_attempt_at, batch_id, {_is_lost(table)} AS is_lost FROM {name} AS row
  WHERE {key} BETWEEN $1::bigint AND $2::bigint AND batch_status <> 'completed'
    AND (batch_status = 'processing' OR next_attempt_at < 'infinity')
), claimed AS (
  SELECT key FROM unfinished WHERE is_lost
), swept AS (
  SELECT *, sum(step) OVER (PARTITION BY batch_status, next_attempt_at, batch_id ORDER BY key, place) AS ranges
  FROM (
    SELECT key, 1 AS place, 0 AS step, batch_status, next_attempt_at, batch_id
    FROM unfinished WHERE batch_status <> 'processing'
    UNION ALL
    SELECT edge.key, edge.place, edge.step, span.batch_status, span.next_attempt_at, span.from_batch
    FROM {table.spans} AS span CROSS JOIN LATERAL (VALUES (lo, 0, 1), (hi, 2, -1)) AS edge (key, place, step)
    WHERE span.batch_id IS NULL AND range_lo <= $2 AND range_hi >= $1 AND lo <= $2 AND hi >= $1
  ) AS rows_and_ranges
), stretches AS (
  SELECT *, count(*) FILTER (WHERE ranges > 0) OVER (
    PARTITION BY batch_status, next_attempt_at, batch_id ORDER BY key
  ) AS stretch
  FROM swept WHERE place = 1
), stranded AS MATERIALIZED (
  SELECT * FROM stretches WHERE ranges = 0
)"""
