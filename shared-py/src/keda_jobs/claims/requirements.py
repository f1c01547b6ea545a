"""What a table must be to become a claim queue, and what the queue adds to it."""

from __future__ import annotations

from collections.abc import Iterator

from asyncpg import Record

from keda_jobs.claims.table import STATUS_COLUMNS, ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection

_FACTS = """
SELECT
  relkind, relpersistence = 't' AS is_temporary, relispartition OR EXISTS (
    SELECT FROM pg_inherits WHERE pg_class.oid IN (inhrelid, inhparent)
  ) AS has_relatives,
  (SELECT format_type(atttypid, NULL) FROM pg_attribute
    WHERE attrelid = pg_class.oid AND attname = $2 AND attnum > 0) AS key_type,
  EXISTS (
    SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
    WHERE indrelid = pg_class.oid AND attname = $2 AND indnkeyatts = 1 AND indisunique AND indisvalid
      AND indpred IS NULL AND attnotnull
  ) AS is_key,
  ARRAY(
    SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attname = ANY($3::text[]) ORDER BY 1
  ) AS taken,
  EXISTS (SELECT FROM keda_jobs.batch_queues WHERE (schema_name, table_name) = ($4, $5)) AS is_queue
FROM pg_class WHERE oid = to_regclass($1)"""

_KEY_TYPES = ("smallint", "integer", "bigint")


async def check_table(connection: Connection, table: ClaimTable) -> None:
    """Raise `Misconfigured` for a table that cannot be a claim queue."""
    facts = await connection.fetchrow(_FACTS, table.sql_name, table.key, list(STATUS_COLUMNS), table.schema, table.name)
    if facts is None:
        raise Misconfigured(f"there is no table {table.sql_name}; create it by a migration of the job, or first")
    for fault in _faults(table, facts):
        raise Misconfigured(f"{table.name} {fault}")


def _faults(table: ClaimTable, facts: Record) -> Iterator[str]:
    if facts["relkind"] == b"p" or facts["has_relatives"]:
        yield (
            "is partitioned, a partition, or inherits: rows of a partition that is written to or attached directly fire"
            " no trigger of the queue; make an ordinary table the queue, with the key of the row to work on"
        )
    if facts["relkind"] != b"r" or facts["is_temporary"]:
        yield "is no ordinary table, so rows written to it fire no trigger of a queue; make an ordinary table the queue"
    if facts["key_type"] not in _KEY_TYPES or not facts["is_key"]:
        yield (
            f"needs {table.key} as an integer primary key, or a unique index on it and NOT NULL; beside a key of"
            ' another kind add a column for it, see "Any table" in docs/batch.md'
        )
    if facts["taken"] and not facts["is_queue"]:
        yield f"has columns that the queue adds itself: {', '.join(facts['taken'])}; rename them first"
