"""Holders of locks on rows of a table, or on the table or its queue as a whole."""
# ruff: noqa: S608 - names come from ClaimTable, which accepts only identifiers

from __future__ import annotations

from collections.abc import Collection

from keda_jobs.claims.table import ClaimTable
from keda_jobs.postgres import Connection

_HOLDER = "format('process %s (%s)', pid, concat_ws(', ', nullif(application_name, ''), 'role ' || usename))"
_OF_TABLE = f"""
SELECT string_agg(DISTINCT {_HOLDER}, ', ') FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE relation IN (to_regclass($1), to_regclass($2)) AND granted AND pid <> pg_backend_pid()
  AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')"""
_OF_ROWS = f"""
WITH holders AS MATERIALIZED (
  SELECT transactionid, {_HOLDER} AS holder
  FROM pg_locks JOIN pg_stat_activity USING (pid)
  WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted
)
SELECT row.{{key}}, coalesce(holder, 'another transaction')
FROM {{name}} AS row LEFT JOIN holders ON transactionid = row.xmax WHERE row.{{key}} = ANY($1)"""


async def find_holders(connection: Connection, table: ClaimTable, keys: Collection[int]) -> dict[int, str]:
    """Return who has locked each row."""
    if not keys:
        return {}
    found = await connection.fetch(_OF_ROWS.format(name=table.sql_name, key=table.sql_key), list(keys))
    return dict(map(tuple, found))


async def find_table_holders(connection: Connection, table: ClaimTable) -> str | None:
    """Return who has locked the table or its queue as a whole."""
    holders: str | None = await connection.fetchval(_OF_TABLE, table.sql_name, table.queue)
    return holders
