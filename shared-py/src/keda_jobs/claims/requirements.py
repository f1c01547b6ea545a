"""What a table must have before it becomes a claim queue."""

from __future__ import annotations

from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection

_HAS_KEY = """
SELECT EXISTS (
  SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = indkey[0]
  WHERE indrelid = to_regclass($1) AND attname = $2 AND indnkeyatts = 1 AND indisunique AND indisvalid
    AND indpred IS NULL AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AND attnotnull
)"""


async def check_table(connection: Connection, table: ClaimTable) -> None:
    """Raise `Misconfigured` for a table that cannot be a claim queue."""
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table.sql_name):
        raise Misconfigured(
            f"there is no table {table.sql_name}; let the job's migrations create it, or create it first"
        )
    if not await connection.fetchval(_HAS_KEY, table.sql_name, table.key):
        raise Misconfigured(
            f"{table.name} needs {table.key} as an integer primary key, or a unique index on it and NOT NULL"
        )
