"""SQL of a claim queue, written for one table. Its names are quoted by `ClaimTable`."""

from __future__ import annotations

from collections.abc import Mapping

from keda_jobs.claims.batch_statements import BatchStatements
from keda_jobs.claims.isolate import HAND_OVER, TRIED, isolating_block
from keda_jobs.claims.range_statements import RangeStatements, has_suspects, is_not_aside
from keda_jobs.claims.result_statements import ResultStatements
from keda_jobs.claims.table import ClaimTable, quote
from keda_jobs.claims.values import ColumnType

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

_UNLOCKED = "FOR NO KEY UPDATE OF row SKIP LOCKED"

SET_LOCAL = "SELECT set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS setting (name, value)"


def held_by_python(time: str) -> str:
    """Write the expression of the time nearest to `time` that Python can hold. `time` is never null."""
    return f"least(greatest({time}, '0001-01-02 00:00:00+00'), '9999-12-30 00:00:00+00')"


class Statements:
    """Statements that name the table. `types` are those of its columns."""

    def __init__(self, table: ClaimTable, types: Mapping[str, ColumnType]) -> None:
        self.table = table
        self.batches = BatchStatements(table)
        self.ranges = RangeStatements(table)
        self.results = ResultStatements(table, types)
        self._read = ", ".join(f"row.{column}" for column in (table.sql_key, "attempts", *map(quote, table.reads)))
        self._write_claim()
        self._write_return()
        self._write_set_aside()

    def _write_claim(self) -> None:
        name, key, spans = self.table.sql_name, self.table.sql_key, self.table.spans
        its_row = f"""row.{key} BETWEEN held.lo AND held.hi AND row.batch_status = held.batch_status
  AND row.next_attempt_at = held.next_attempt_at AND row.batch_id IS NOT DISTINCT FROM held.from_batch"""
        # In the order of keys, whatever their times: each page is visited once.
        self.claim = f"""
UPDATE {name} AS row SET batch_status = 'processing', batch_id = $1
FROM (SELECT * FROM {spans} WHERE batch_id = $1 ORDER BY lo) AS held
WHERE {its_row}
RETURNING {self._read}"""
        self.waiting_rows = f"""
SELECT row.{key}, row.attempts, held.tries FROM {spans} AS held JOIN {name} AS row ON {its_row}
WHERE held.batch_id = $1"""
        self.lock_waiting = f"{self.waiting_rows} {_UNLOCKED}"
        self.hand_over_keys = HAND_OVER.format("'{}'")
        self.read_claimed = f"""
SELECT {self._read}, row.xmin::text FROM {name} AS row
WHERE row.{key} = ANY($2) AND row.batch_id = $1 AND row.batch_status = 'processing'"""

    def claim_parts(self, batch_id: int) -> str:
        """Build the block that claims the keys handed over."""
        key = self.table.sql_key
        return isolating_block(f"""
UPDATE {self.table.sql_name} AS row SET batch_status = 'processing', batch_id = {int(batch_id)}
WHERE row.{key} = ANY(part) AND {TRIED.format(f"row.{key}")}""")

    def _write_return(self) -> None:
        name, key, queue, spans = self.table.sql_name, self.table.sql_key, self.table.queue, self.table.spans
        self.claimed_rows = f"""
SELECT row.{key}, row.attempts, held.tries
FROM {spans} AS held JOIN {name} AS row ON row.{key} BETWEEN held.lo AND held.hi
WHERE held.batch_id = $1 AND row.batch_id = $1 AND row.batch_status = 'processing'
  AND {is_not_aside(self.table)}"""
        self.lock_claimed = f"{self.claimed_rows} {_UNLOCKED}"
        # Others died with this worker, unless it had claimed the row alone.
        self.only_row = f"{self.claimed_rows} AND held.is_suspect"
        self.give_back = f"""
WITH returned AS (
  UPDATE {name} AS row SET batch_status = 'pending', next_attempt_at = now()
  FROM {spans} AS held
  WHERE held.batch_id = $1 AND row.{key} BETWEEN held.lo AND held.hi
    AND row.batch_id = $1 AND row.batch_status = 'processing'
    AND ($3::bigint[] IS NULL OR row.{key} = ANY($3)) AND {is_not_aside(self.table)}
  RETURNING row.{key}::bigint AS key, row.next_attempt_at
), all_returned AS (
  SELECT array_agg(key) AS keys, array_agg(next_attempt_at) AS times, count(*) AS number FROM returned
), waiting AS (
  INSERT INTO {queue} (lo, hi, claimable, next_attempt_at, from_batch, is_suspect, latest, keys, times)
  SELECT range.lo, range.hi, range.claimable, range.next_attempt_at, $1, $2 OR ({has_suspects(self.table)}),
    range.latest, range.keys, range.times
  FROM all_returned AS again,
    keda_jobs.batch_pack(again.keys, again.times, most => greatest(1, ceil(
      number / CASE WHEN $2 AND ({has_suspects(self.table)}) THEN {_PARTS} ELSE 1.0 END
    ))::integer) AS range
)
SELECT number FROM all_returned"""
        self.take_expired_batch = f"""
SELECT batch_id, pod_name, claimed - completed - failed - returned AS rows
FROM {self.table.expired} ORDER BY lease_expires_at LIMIT 1 FOR UPDATE SKIP LOCKED"""

    def _write_set_aside(self) -> None:
        name, key, queue = self.table.sql_name, self.table.sql_key, self.table.queue
        self.set_aside = f"""
INSERT INTO {queue} (
  lo, hi, claimable, batch_status, next_attempt_at, from_batch, is_suspect, held_back_until, tries, error
)
SELECT row.{key}, row.{key}, 1, row.batch_status, row.next_attempt_at, row.batch_id, false,
  coalesce(clock_timestamp() + make_interval(secs => aside.delay_s), 'infinity'), aside.tries, aside.error
FROM unnest($1::bigint[], $2::float8[], $3::smallint[], $4::text[]) AS aside (key, delay_s, tries, error)
  JOIN {name} AS row ON row.{key} = aside.key
WHERE row.{key} = ANY($1)"""
        # Fails where no row can be updated, because somebody has locked the table.
        self.lock_table = f"UPDATE {name} SET batch_status = batch_status WHERE false"
