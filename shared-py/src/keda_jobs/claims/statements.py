"""SQL of a claim queue, written for one table. Its names are quoted by `ClaimTable`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from keda_jobs.claims.batch_statements import BatchStatements
from keda_jobs.claims.isolate import isolating_block
from keda_jobs.claims.table import ClaimTable, quote

# Statistics of a status that changes by the thousand are always stale, and with yesterday's the planner chooses nested
# loops that never end. Each statement here has one good plan, so the others are disabled. A disabled node that a small
# step still needs gets a huge cost, which must not trigger JIT compilation.
_PLAN = {"enable_seqscan": "off", "enable_bitmapscan": "off", "enable_mergejoin": "off", "jit": "off"}
SEE_ALL_ROWS = {"row_security": "off"}
"""Setting that makes a statement fail where a policy hides rows from it: they would be taken for deleted."""
BY_INDEX = {**_PLAN, **SEE_ALL_ROWS}
"""Settings that every statement on rows needs."""
# Rows over which a second worker died come back in this many parts, each claimed alone: a row that kills its worker is
# isolated after log16(CLAIM_SIZE) more deaths, and its neighbours complete meanwhile. The first death makes no parts.
# Most workers die of something else, such as their node, and a part costs a claim.
_PARTS = 16
# Tells the table's triggers that the ranges are maintained here. They do it for everyone else's changes.
_MAINTAINS_RANGES = {"keda_jobs.claims": "on"}
BY_RANGE = {**BY_INDEX, **_MAINTAINS_RANGES, "enable_hashjoin": "off"}
"""Settings for a claim's plan: look up the rows of each held range by the key's index."""
BY_KEYS = {**BY_INDEX, **_MAINTAINS_RANGES, "enable_nestloop": "off"}
"""Settings for a completion's plan: find the rows in one index scan, join the values by a hash."""

# No transaction waits for a row that somebody has locked: it leaves the row out. A transaction of an application that
# waits for one of its rows meanwhile looks for a deadlock after `deadlock_timeout`, a second unless it is set, and must
# not find one then. A claim holds the locks of more rows, so it waits less.
CLAIM = {**BY_RANGE, "lock_timeout": "100ms"}
"""Settings of transactions that claim rows or give them back."""
SETTLE = {**BY_KEYS, "lock_timeout": "300ms"}
"""Settings of transactions that write results."""
ROWS_ARE_WRITTEN = "SET LOCAL lock_timeout = 0"
"""What the worker's transactions lock after the rows, no application locks."""
CHECK_AT_ONCE = "SET CONSTRAINTS ALL IMMEDIATE"
"""Lets a deferred constraint refuse a row by the statement that writes it, not at the end of the transaction."""

# For a block of `isolating_block`: its keys, its texts, and the row that it is about to write.
_HAND_OVER = """
SELECT set_config('keda_jobs.keys', $1::bigint[]::text, true), set_config('keda_jobs.texts', ({})::text, true)"""
_TRIED = "setval('keda_jobs.batch_tried_row', {}) IS NOT NULL"

SET_LOCAL = "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS setting (name, value)"


def held_by_python(time: str) -> str:
    """Write the expression of the time nearest to `time` that Python can hold. `time` is never null."""
    return f"least(greatest({time}, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00')"


class Statements:
    """Statements that name the table. `types` are the SQL types of its columns."""

    def __init__(self, table: ClaimTable, types: Mapping[str, str]) -> None:
        self.table = table
        self._is_suspect = f"SELECT coalesce(bool_or(is_suspect), false) FROM {table.queue} WHERE batch_id = $1"
        self.batches = BatchStatements(table)
        name, key, queue = table.sql_name, table.sql_key, table.queue
        self._read = ", ".join(f"row.{column}" for column in (key, "attempts", *map(quote, table.reads)))
        self._its_row = f"""row.{key} BETWEEN held.lo AND held.hi AND row.batch_status = held.batch_status
  AND row.next_attempt_at = held.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM held.from_batch"""
        self._is_not_aside = f"""row.{key} <> ALL(ARRAY(
    SELECT lo FROM {queue} WHERE error IS NOT NULL AND from_batch = $1 AND batch_status = 'processing'
  ))"""
        self._claimed = f"""
FROM {table.spans} AS held JOIN {name} AS row ON row.{key} BETWEEN held.lo AND held.hi
WHERE held.batch_id = $1 AND row.batch_id = $1 AND row.batch_status = 'processing'
  AND {self._is_not_aside}"""
        self._write_claim(table)
        self._write_settle(table, types)
        self._write_recover(table)
        self._write_set_aside(table)

    def _write_claim(self, table: ClaimTable) -> None:
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
        # In the order of keys, whatever their times: each page is visited once.
        self.claim = f"""
UPDATE {name} AS row SET batch_status = 'processing', batch_id = $1
FROM (SELECT * FROM {table.spans} WHERE batch_id = $1 ORDER BY lo) AS held
WHERE {self._its_row}
RETURNING {self._read}"""
        # Ranges that share rows with those of the batch.
        self.recount_overlapping = f"""
SELECT {queue}_recount(ARRAY(
  SELECT range.range_id FROM {queue} AS held JOIN {queue} AS range
    ON range.next_attempt_at = held.next_attempt_at AND range.lo <= held.hi AND range.hi >= held.lo
    AND range.batch_status = held.batch_status AND range.from_batch IS NOT DISTINCT FROM held.from_batch
  WHERE held.batch_id = $1 AND range.batch_id IS NULL FOR UPDATE OF range SKIP LOCKED
))"""

    def _write_settle(self, table: ClaimTable, types: Mapping[str, str]) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        arrays = "".join(f", ${number}::{types[column]}[]" for number, column in enumerate(table.writes, 4))
        values = "".join(f", {column} = done.{column}" for column in map(quote, table.writes))
        columns = "".join(f", {quote(column)}" for column in table.writes)
        is_ours = "row.batch_id = $1 AND row.batch_status = 'processing'"
        # A row keeps the number of the transaction that claimed it as xmin, until somebody changes the row.
        is_same = "($3::text[] IS NULL OR row.xmin = ANY($3::text[]::xid[]))"
        self.complete = f"""
UPDATE {name} AS row SET batch_status = 'completed', attempts = row.attempts + 1, error = NULL{values}
FROM unnest($2::bigint[]{arrays}) AS done (key{columns})
WHERE row.{key} = done.key AND row.{key} = ANY($2) AND {is_ours} AND {is_same}"""
        texts = ", ".join(f"${number}::{types[column]}[]::text[]" for number, column in enumerate(table.writes, 2))
        self.hand_over_results = _HAND_OVER.format(f"ARRAY[{texts}]" if texts else "'{}'")
        part_texts = "".join(f", part_texts[{number}:{number}]" for number in range(1, len(table.writes) + 1))
        part_values = "".join(f", {quote(column)} = done.{quote(column)}::{types[column]}" for column in table.writes)
        # CASE has columns of both sides, so that it is the last condition. A row is written then.
        self._complete_part = f"""
UPDATE {name} AS row SET batch_status = 'completed', attempts = row.attempts + 1, error = NULL{part_values}
FROM unnest(part{part_texts}) AS done (key{columns})
WHERE row.{key} = done.key AND row.{key} = ANY(part) AND row.batch_status = 'processing'
  AND {_TRIED.format(f"CASE row.{key} WHEN done.key THEN done.key END")} AND row.batch_id = """
        self.fail = f"""
WITH failed AS (
  UPDATE {name} AS row SET
    batch_status = 'failed', attempts = row.attempts + 1, error = failure.error,
    next_attempt_at = coalesce(now() + make_interval(secs => failure.delay_s), 'infinity')
  FROM unnest($2::bigint[], $4::text[], $5::float8[]) AS failure (key, error, delay_s)
  WHERE row.{key} = failure.key AND row.{key} = ANY($2) AND {is_ours} AND {is_same}
  RETURNING row.{key} AS key, row.next_attempt_at
), waiting AS (
  INSERT INTO {queue}
    (lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect, latest, keys, times)
  SELECT range.lo, range.hi, range.claimable, 'failed', range.next_attempt_at, $1, ({self._is_suspect}), range.latest,
    range.keys, range.times
  FROM (
    SELECT array_agg(key::bigint) AS keys, array_agg(next_attempt_at) AS times FROM failed
    WHERE next_attempt_at < 'infinity'
  ) AS again, keda_jobs.batch_pack(again.keys, again.times) AS range
)
SELECT count(*) AS failed, count(*) FILTER (WHERE next_attempt_at = 'infinity') AS failed_permanently FROM failed"""
        self.unwritten = f"""
SELECT {", ".join(f"row.{column}" for column in (key, "xmin = ANY($3::text[]::xid[])", *map(quote, table.reads)))}
FROM {name} AS row WHERE row.{key} = ANY($2) AND {is_ours} FOR NO KEY UPDATE"""

    def _write_recover(self, table: ClaimTable) -> None:
        name, key, queue = table.sql_name, table.sql_key, table.queue
        self.release = f"DELETE FROM {queue} WHERE batch_id = $1"
        self.give_back = f"""
WITH returned AS (
  UPDATE {name} AS row SET batch_status = 'pending', next_attempt_at = now()
  FROM {table.spans} AS held
  WHERE held.batch_id = $1 AND row.{key} BETWEEN held.lo AND held.hi
    AND row.batch_id = $1 AND row.batch_status = 'processing'
    AND ($3::bigint[] IS NULL OR row.{key} = ANY($3)) AND {self._is_not_aside}
  RETURNING row.{key}::bigint AS key, row.next_attempt_at
), all_returned AS (
  SELECT array_agg(key) AS keys, array_agg(next_attempt_at) AS times, count(*) AS number FROM returned
), waiting AS (
  INSERT INTO {queue} (lo, hi, claimable, next_attempt_at, from_batch, is_suspect, latest, keys, times)
  SELECT range.lo, range.hi, range.claimable, range.next_attempt_at, $1, $2 OR ({self._is_suspect}), range.latest,
    range.keys, range.times
  FROM all_returned AS again,
    keda_jobs.batch_pack(again.keys, again.times, most => greatest(1, ceil(
      number / CASE WHEN $2 AND ({self._is_suspect}) THEN {_PARTS} ELSE 1.0 END
    ))::integer) AS range
)
SELECT number FROM all_returned"""
        self.take_expired_batch = f"""
SELECT batch_id, pod_name, claimed - completed - failed - returned AS rows
FROM {table.expired} ORDER BY lease_expires_at LIMIT 1 FOR UPDATE SKIP LOCKED"""
        self.claimed_rows = f"SELECT row.{key}, row.attempts, held.tries {self._claimed}"
        # Others died with this worker, unless it had claimed the row alone.
        self.only_row = f"{self.claimed_rows} AND held.is_suspect"

    def _write_set_aside(self, table: ClaimTable) -> None:
        """Write the statements for rows one by one."""
        name, key, queue = table.sql_name, table.sql_key, table.queue
        unlocked = "FOR NO KEY UPDATE OF row SKIP LOCKED"
        self.waiting_rows = f"""
SELECT row.{key}, row.attempts, held.tries FROM {table.spans} AS held JOIN {name} AS row ON {self._its_row}
WHERE held.batch_id = $1"""
        self.lock_waiting = f"{self.waiting_rows} {unlocked}"
        self.lock_claimed = f"{self.claimed_rows} {unlocked}"
        # Only a range of one row counts tries at it.
        self.lock_results = f"""
SELECT row.{key}, row.attempts, coalesce(held.tries, 0)
FROM {name} AS row LEFT JOIN {queue} AS held ON held.batch_id = $1 AND held.tries > 0 AND held.lo = row.{key}
WHERE row.{key} = ANY($2) AND row.batch_id = $1 AND row.batch_status = 'processing' AND {self._is_not_aside}
{unlocked}"""
        self.hand_over_keys = _HAND_OVER.format("'{}'")
        self._claim_part = f"""
UPDATE {name} AS row SET batch_status = 'processing', batch_id = {{}}
WHERE row.{key} = ANY(part) AND {_TRIED.format(f"row.{key}")}"""
        self.read_claimed = f"""
SELECT {self._read}, row.xmin::text FROM {name} AS row
WHERE row.{key} = ANY($2) AND row.batch_id = $1 AND row.batch_status = 'processing'"""
        self.set_aside = f"""
INSERT INTO {queue} (
  lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect, held_back_until, tries, error
)
SELECT row.{key}, row.{key}, 1, row.batch_status, row.next_attempt_at, row.batch_id, false,
  coalesce(clock_timestamp() + make_interval(secs => aside.delay_s), 'infinity'), aside.tries, aside.error
FROM unnest($1::bigint[], $2::float8[], $3::smallint[], $4::text[]) AS aside (key, delay_s, tries, error)
  JOIN {name} AS row ON row.{key} = aside.key
WHERE row.{key} = ANY($1)"""
        holder = "format('process %s (%s, role %s)', pid, application_name, usename)"
        # Fails where no row can be updated, because somebody has locked the table.
        self.lock_table = f"UPDATE {name} SET batch_status = batch_status WHERE false"
        self.table_holders = f"""
SELECT string_agg(DISTINCT {holder}, ', ') FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE relation IN (to_regclass($1), to_regclass($2)) AND granted AND pid <> pg_backend_pid()
  AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"""
        self.holders = f"""
WITH holders AS MATERIALIZED (
  SELECT transactionid, {holder} AS holder
  FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
)
SELECT row.{key}, coalesce(holder, 'another transaction')
FROM {name} AS row LEFT JOIN holders ON transactionid = row.xmax WHERE row.{key} = ANY($1)"""

    def claim_parts(self, batch_id: int) -> str:
        """Build the block that claims the keys handed over."""
        return isolating_block(self._claim_part.format(int(batch_id)))

    def complete_parts(self, batch_id: int, versions: Sequence[str]) -> str:
        """Build the block that writes the results handed over."""
        numbers = ", ".join(map(str, map(int, versions)))
        return isolating_block(f"{self._complete_part}{int(batch_id)} AND row.xmin = ANY('{{{numbers}}}'::xid[])")
