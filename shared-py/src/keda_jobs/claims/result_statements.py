"""Statements that write the outcomes of a batch's rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keda_jobs.claims.isolate import HAND_OVER, TRIED, isolating_block
from keda_jobs.claims.range_statements import has_suspects, is_not_aside
from keda_jobs.claims.table import ClaimTable, quote
from keda_jobs.claims.values import ColumnType

_IS_OURS = "row.batch_id = $1 AND row.batch_status = 'processing'"
# A row keeps the number of the transaction that claimed it as xmin, until somebody changes the row.
_IS_SAME = "($3::text[] IS NULL OR row.xmin = ANY($3::text[]::xid[]))"


class ResultStatements:
    """Statements on results and failures. `types` are those of the table's columns."""

    def __init__(self, table: ClaimTable, types: Mapping[str, ColumnType]) -> None:
        self._table = table
        self.types = [types[column] for column in table.writes]
        self._columns = "".join(f", {quote(column)}" for column in table.writes)
        self._write_complete()
        self._write_complete_part()
        self._write_fail()

    def _write_complete(self) -> None:
        name, key = self._table.sql_name, self._table.sql_key
        arrays = "".join(f", ${number}::{kind.sql}[]" for number, kind in enumerate(self.types, 4))
        values = "".join(f", {column} = done.{column}" for column in map(quote, self._table.writes))
        self.complete = f"""
UPDATE {name} AS row SET batch_status = 'completed', attempts = row.attempts + 1, error = NULL{values}
FROM unnest($2::bigint[]{arrays}) AS done (key{self._columns})
WHERE row.{key} = done.key AND row.{key} = ANY($2) AND {_IS_OURS} AND {_IS_SAME}"""
        read = (key, "xmin = ANY($3::text[]::xid[])", *map(quote, self._table.reads))
        self.delete_completed = f"""
DELETE FROM {name} AS row WHERE row.{key} = ANY($2) AND row.batch_id = $1 AND row.batch_status = 'completed'"""
        self.unwritten = f"""
SELECT {", ".join(f"row.{column}" for column in read)}
FROM {name} AS row WHERE row.{key} = ANY($2) AND {_IS_OURS} FOR NO KEY UPDATE"""

    def _write_complete_part(self) -> None:
        """Write the statement that reads each value as it writes the row, so that a value fails by its row."""
        name, key, queue = self._table.sql_name, self._table.sql_key, self._table.queue
        texts = ", ".join(f"${number}::{kind.handed_over}[]::text[]" for number, kind in enumerate(self.types, 2))
        self.hand_over = HAND_OVER.format(f"ARRAY[{texts}]" if texts else "'{}'")
        part_texts = "".join(f", part_texts[{number}:{number}]" for number in range(1, len(self.types) + 1))
        values = "".join(
            f", {column} = {kind.read(f'done.{column}')}"
            for column, kind in zip(map(quote, self._table.writes), self.types, strict=True)
        )
        # CASE has columns of both sides, so that it is the last condition. A row is written then.
        self._complete_part = f"""
UPDATE {name} AS row SET batch_status = 'completed', attempts = row.attempts + 1, error = NULL{values}
FROM unnest(part{part_texts}) AS done (key{self._columns})
WHERE row.{key} = done.key AND row.{key} = ANY(part) AND row.batch_status = 'processing'
  AND {TRIED.format(f"CASE row.{key} WHEN done.key THEN done.key END")} AND row.batch_id = """
        # Only a range of one row counts tries at it.
        self.lock = f"""
SELECT row.{key}, row.attempts, coalesce(held.tries, 0)
FROM {name} AS row LEFT JOIN {queue} AS held ON held.batch_id = $1 AND held.tries > 0 AND held.lo = row.{key}
WHERE row.{key} = ANY($2) AND {_IS_OURS} AND {is_not_aside(self._table)}
FOR NO KEY UPDATE OF row SKIP LOCKED"""

    def complete_parts(self, batch_id: int, versions: Sequence[str]) -> str:
        """Build the block that writes the results handed over."""
        numbers = ", ".join(map(str, map(int, versions)))
        return isolating_block(f"{self._complete_part}{int(batch_id)} AND row.xmin = ANY('{{{numbers}}}'::xid[])")

    def _write_fail(self) -> None:
        name, key, queue = self._table.sql_name, self._table.sql_key, self._table.queue
        self.fail = f"""
WITH failed AS (
  UPDATE {name} AS row SET
    batch_status = 'failed', attempts = row.attempts + 1, error = failure.error,
    next_attempt_at = coalesce(now() + make_interval(secs => failure.delay_s), 'infinity')
  FROM unnest($2::bigint[], $4::text[], $5::float8[]) AS failure (key, error, delay_s)
  WHERE row.{key} = failure.key AND row.{key} = ANY($2) AND {_IS_OURS} AND {_IS_SAME}
  RETURNING row.{key} AS key, row.next_attempt_at
), waiting AS (
  INSERT INTO {queue}
    (lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect, latest, keys, times)
  SELECT range.lo, range.hi, range.claimable, 'failed', range.next_attempt_at, $1, ({has_suspects(self._table)}),
    range.latest, range.keys, range.times
  FROM (
    SELECT array_agg(key::bigint) AS keys, array_agg(next_attempt_at) AS times FROM failed
    WHERE next_attempt_at < 'infinity'
  ) AS again, keda_jobs.batch_pack(again.keys, again.times) AS range
)
SELECT count(*) AS failed, count(*) FILTER (WHERE next_attempt_at = 'infinity') AS failed_permanently FROM failed"""
