"""SQL of a claim queue, written for one table. Its names are quoted by `ClaimTable`."""

from __future__ import annotations

from collections.abc import Mapping

from keda_jobs.claims.table import ClaimTable, quote

# Statistics of a status that changes by the thousand are always stale, and with yesterday's the planner chooses nested
# loops that never end. Each statement here has one good plan, so the others are disabled. A disabled node that a small
# step still needs gets a huge cost, which must not trigger JIT compilation.
_PLAN = {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_mergejoin": "off", "jit": "off"}
SEE_ALL_ROWS = {"row_security": "off"}
"""Setting that makes a statement fail where a policy hides rows from it: they would be taken for deleted."""
BY_INDEX = {**_PLAN, **SEE_ALL_ROWS}
"""Settings that every statement on rows needs."""
# Tells the table's triggers that the ranges are maintained here. They do it for everyone else's changes.
_MAINTAINS_RANGES = {"keda_jobs.claims": "on"}
BY_RANGE = {**BY_INDEX, **_MAINTAINS_RANGES, "enable_hashjoin": "off"}
"""Settings for a claim's plan: look up the rows of each held range by the key's index."""
BY_KEYS = {**BY_INDEX, **_MAINTAINS_RANGES, "enable_nestloop": "off"}
"""Settings for a completion's plan: find the rows in one index scan, join the values by a hash."""

SET_LOCAL = "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS setting (name, value)"


def held_by_python(time: str) -> str:
    """Write the expression of the time nearest to `time` that Python can hold. `time` is never null."""
    return f"least(greatest({time}, '0001-01-02'), '9999-12-30')"


class Statements:
    """Statements that name the table. `types` are the SQL types of its columns."""

    def __init__(self, table: ClaimTable, types: Mapping[str, str]) -> None:
        self._is_suspect = f"SELECT coalesce(bool_or(is_suspect), false) FROM {table.queue} WHERE batch_id = $1"
        self._write_batches(table)
        self._write_claim(table)
        self._write_settle(table, types)
        self._write_recover(table)

    def _write_batches(self, table: ClaimTable) -> None:
        batches = table.batches
        self.renew = f"""
UPDATE {batches} SET heartbeat_at = clock_timestamp(), lease_expires_at = clock_timestamp() + $2 WHERE batch_id = $1"""
        # KEY SHARE lets parts of a batch settle concurrently, and conflicts with FOR UPDATE of `take_expired_batch`.
        self.fence = f"""
SELECT status, status = 'running' AND lease_expires_at > clock_timestamp() AS is_ours
FROM {batches} WHERE batch_id = $1 FOR KEY SHARE"""
        self.add_counts = f"""
UPDATE {batches} SET
  completed = completed + $2, failed = failed + $3, given_up = given_up + $4,
  rows_per_s = (completed + $2 + failed + $3)
    / greatest(0.001, extract(epoch FROM clock_timestamp() - started_at)),
  heartbeat_at = clock_timestamp(), lease_expires_at = clock_timestamp() + $5
WHERE batch_id = $1
RETURNING completed + failed + returned = claimed"""
        # What has no outcome was given back, or was deleted meanwhile.
        self.close_batch = f"""
UPDATE {batches} SET
  status = $2, error = $3, failed = failed + $4, given_up = given_up + $5, returned = claimed - completed - failed - $4,
  finished_at = clock_timestamp()
WHERE batch_id = $1"""
        # $4 rows cannot be given back yet. The lease calls a worker again when it expires.
        self.keep_batch = f"""
UPDATE {batches} SET
  failed = failed + $2, given_up = given_up + $3, returned = claimed - completed - failed - $2 - $4,
  lease_expires_at = clock_timestamp() + $5
WHERE batch_id = $1"""
        self.insert_batch = f"""
INSERT INTO {batches} (batch_name, pod_name, lease_expires_at)
VALUES ($1, $2, clock_timestamp() + $3) RETURNING batch_id, pg_current_xact_id()::xid AS version"""
        # The lease begins after the claim, because a claim of many rows takes time.
        self.set_claimed = f"""
UPDATE {batches} SET claimed = $2, lease_expires_at = clock_timestamp() + $3 WHERE batch_id = $1"""
        self.delete_batch = f"DELETE FROM {batches} WHERE batch_id = $1"

    def _write_claim(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        self.claimable = f"SELECT rows FROM {table.claimable}"
        self.waiting = f"""
SELECT range_id, lo, hi, claimable, is_suspect FROM {table.due} ORDER BY next_attempt_at, lo FOR UPDATE SKIP LOCKED"""
        # In SQL, because a cursor of the driver leaves a prepared statement behind on a pooler's connection.
        self.open_waiting = f"DECLARE waiting NO SCROLL CURSOR FOR {self.waiting}"
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
        self.hold = f"""
WITH held AS (UPDATE {queue} SET batch_id = $1 WHERE range_id = ANY($2) RETURNING claimable)
SELECT sum(claimable) FROM held"""
        self.claim = f"""
UPDATE {name} AS row SET batch_status = 'processing', batch_id = $1
FROM {queue} AS held
WHERE held.batch_id = $1 AND row.{key} BETWEEN held.lo AND held.hi AND row.batch_status = held.batch_status
  AND row.next_attempt_at = held.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM held.from_batch
RETURNING {", ".join(f"row.{column}" for column in (key, "attempts", *map(quote, table.reads)))}"""
        # Ranges that share rows with those of the batch.
        self.recount_overlapping = f"""
SELECT {queue}_recount(ARRAY(
  SELECT range.range_id FROM {queue} AS held JOIN {queue} AS range
    ON range.next_attempt_at = held.next_attempt_at AND range.lo <= held.hi AND range.hi >= held.lo
    AND range.batch_status = held.batch_status AND range.from_batch IS NOT DISTINCT FROM held.from_batch
  WHERE held.batch_id = $1 AND range.batch_id IS NULL FOR UPDATE OF range SKIP LOCKED
))"""
        self.hold_back = f"""
WITH unclaimed AS (
  INSERT INTO {queue} (lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect, held_back_until)
  SELECT rows.lo, rows.hi, rows.number, held.batch_status, held.next_attempt_at, held.from_batch, held.is_suspect,
    clock_timestamp() + $2
  FROM {queue} AS held CROSS JOIN LATERAL (
    SELECT min({key}) AS lo, max({key}) AS hi, count(*) AS number FROM {name} AS row
    WHERE row.{key} BETWEEN held.lo AND held.hi AND row.batch_status = held.batch_status
      AND row.next_attempt_at = held.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM held.from_batch
  ) AS rows
  WHERE held.batch_id = $1 AND rows.number > 0 RETURNING claimable
)
SELECT coalesce(sum(claimable), 0) FROM unclaimed"""

    def _write_settle(self, table: ClaimTable, types: Mapping[str, str]) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        arrays = "".join(f", ${number}::{types[column]}[]" for number, column in enumerate(table.writes, 4))
        values = "".join(f", {column} = done.{column}" for column in map(quote, table.writes))
        columns = "".join(f", {quote(column)}" for column in table.writes)
        is_ours = "row.batch_id = $1 AND row.batch_status = 'processing'"
        # A claim writes all its rows in one transaction, whose number they keep as xmin until somebody changes them.
        self.complete = f"""
UPDATE {name} AS row SET batch_status = 'completed', attempts = row.attempts + 1, error = NULL{values}
FROM unnest($2::bigint[]{arrays}) AS done (key{columns})
WHERE row.{key} = done.key AND row.{key} = ANY($2) AND {is_ours} AND ($3::xid IS NULL OR row.xmin = $3)"""
        self.fail = f"""
WITH failed AS (
  UPDATE {name} AS row SET
    batch_status = 'failed', attempts = row.attempts + 1, error = failure.error,
    next_attempt_at = coalesce(now() + make_interval(secs => failure.delay_s), 'infinity')
  FROM unnest($2::bigint[], $4::text[], $5::float8[]) AS failure (key, error, delay_s)
  WHERE row.{key} = failure.key AND row.{key} = ANY($2) AND {is_ours} AND ($3::xid IS NULL OR row.xmin = $3)
  RETURNING row.{key} AS key, row.next_attempt_at
), waiting AS (
  INSERT INTO {queue} (lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect)
  SELECT ranges.lo, ranges.hi, ranges.claimable, 'failed', same.next_attempt_at, $1, ({self._is_suspect})
  FROM (
    SELECT next_attempt_at, array_agg(key) AS ids FROM failed WHERE next_attempt_at < 'infinity' GROUP BY 1
  ) AS same, keda_jobs.batch_ranges(same.ids) AS ranges
)
SELECT count(*) AS failed, count(*) FILTER (WHERE next_attempt_at = 'infinity') AS failed_permanently FROM failed"""
        self.unwritten = f"""
SELECT {", ".join(("row." + key, "row.xmin = $3::xid", *(f"row.{quote(column)}" for column in table.reads)))}
FROM {name} AS row WHERE row.{key} = ANY($2) AND {is_ours} FOR NO KEY UPDATE"""

    def _write_recover(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        self.release = f"DELETE FROM {queue} WHERE batch_id = $1"
        self.give_back = f"""
WITH returned AS (
  UPDATE {name} AS row SET batch_status = 'pending', next_attempt_at = now()
  FROM {queue} AS held
  WHERE held.batch_id = $1 AND row.{key} BETWEEN held.lo AND held.hi
    AND row.batch_id = $1 AND row.batch_status = 'processing'
  RETURNING row.{key} AS key
), all_returned AS (
  SELECT array_agg(key) AS ids, count(*) AS number FROM returned
), waiting AS (
  INSERT INTO {queue} (lo, hi, claimable, next_attempt_at, from_batch, is_suspect)
  SELECT ranges.lo, ranges.hi, ranges.claimable, now(), $1, $2 OR ({self._is_suspect})
  FROM all_returned, keda_jobs.batch_ranges(ids, most => greatest(1, ceil(number / $3::float8))::integer) AS ranges
)
SELECT number FROM all_returned"""
        self.not_returned = f"""
SELECT count(*) FROM {queue} AS held JOIN {name} AS row ON row.{key} BETWEEN held.lo AND held.hi
WHERE held.batch_id = $1 AND row.batch_id = $1 AND row.batch_status = 'processing'"""
        self.take_expired_batch = f"""
SELECT batch_id, pod_name, claimed - completed - failed - returned AS rows
FROM {table.expired} ORDER BY lease_expires_at LIMIT 1 FOR UPDATE SKIP LOCKED"""
        # Others died with this worker, unless it had claimed the row alone.
        self.only_row = f"""
SELECT row.{key}, row.attempts FROM {queue} AS held JOIN {name} AS row ON row.{key} BETWEEN held.lo AND held.hi
WHERE held.batch_id = $1 AND held.is_suspect AND row.batch_id = $1 AND row.batch_status = 'processing'"""
