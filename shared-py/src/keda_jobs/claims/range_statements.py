"""Statements on the ranges of a queue."""

from __future__ import annotations

from keda_jobs.claims.table import ClaimTable


def has_suspects(table: ClaimTable) -> str:
    """Write the query whether the batch `$1` has rows over which a worker died."""
    return f"SELECT coalesce(bool_or(is_suspect), false) FROM {table.queue} WHERE batch_id = $1"


def is_not_aside(table: ClaimTable) -> str:
    """Write the condition for rows of the batch `$1` that are not set aside."""
    return f"""row.{table.sql_key} <> ALL(ARRAY(
    SELECT lo FROM {table.queue} WHERE error IS NOT NULL AND from_batch = $1 AND batch_status = 'processing'
  ))"""


class RangeStatements:
    """Statements that select ranges, split them and hold them for a batch."""

    def __init__(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        self.claimable = f"SELECT rows FROM {table.claimable}"
        self.waiting = f"""
SELECT range_id, hi, claimable, due, is_suspect, keys IS NOT NULL FROM {table.due}
ORDER BY next_attempt_at, lo FOR UPDATE SKIP LOCKED"""
        self.merge = f"SELECT {queue}_merge($1)"
        # In SQL, because a cursor of the driver leaves a prepared statement behind on a pooler's connection.
        self.open_waiting = f"DECLARE waiting NO SCROLL CURSOR FOR {self.waiting}"
        self.close_waiting = "CLOSE waiting"
        # The last key of the first $2 rows of a range. Its time is not read: Python has no year 4713 BC.
        self.split_key = f"""
SELECT last.{key} FROM {queue} AS range CROSS JOIN LATERAL (
  SELECT {key} FROM {name} AS row
  WHERE row.{key} BETWEEN range.lo AND range.hi AND row.batch_status = range.batch_status
    AND row.next_attempt_at = range.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM range.from_batch
  ORDER BY row.{key} OFFSET $2 - 1 LIMIT 1
) AS last
WHERE range_id = $1"""
        self.shorten = f"UPDATE {queue} SET lo = $2, claimable = claimable - $3 WHERE range_id = $1"
        self.split_off = f"""
INSERT INTO {queue} (lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect)
SELECT lo, $2, $3, batch_status, next_attempt_at, from_batch, is_suspect FROM {queue} WHERE range_id = $1
RETURNING range_id"""
        # The first $2 rows of a list.
        self.split_list = f"""
INSERT INTO {queue} (lo, hi, claimable, batch_status, next_attempt_at, latest, from_batch, is_suspect, keys, times)
SELECT lo, hi, $2, batch_status, next_attempt_at, coalesce(times[$2], latest), from_batch, is_suspect, keys[:$2],
  times[:$2]
FROM {queue} WHERE range_id = $1
RETURNING range_id"""
        self.shorten_list = f"""
UPDATE {queue} SET
  lo = CASE WHEN times IS NULL THEN keys[$2 + 1] ELSE lo END, claimable = claimable - $2,
  next_attempt_at = coalesce(times[$2 + 1], next_attempt_at), keys = keys[$2 + 1:], times = times[$2 + 1:]
WHERE range_id = $1"""
        self.hold = f"""
WITH held AS (UPDATE {queue} SET batch_id = $1 WHERE range_id = ANY($2) RETURNING claimable)
SELECT sum(claimable) FROM held"""
        self.release = f"DELETE FROM {queue} WHERE batch_id = $1"
        # Ranges that share rows with those of the batch.
        self.recount_overlapping = f"""
SELECT {queue}_recount(ARRAY(
  SELECT range.range_id FROM {queue} AS held JOIN {queue} AS range
    ON range.next_attempt_at = held.next_attempt_at AND range.lo <= held.hi AND range.hi >= held.lo
    AND range.batch_status = held.batch_status AND range.from_batch IS NOT DISTINCT FROM held.from_batch
  WHERE held.batch_id = $1 AND range.batch_id IS NULL FOR UPDATE OF range SKIP LOCKED
))"""
