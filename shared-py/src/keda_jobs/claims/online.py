"""The part of making a queue that reads every row: outside of a long transaction, while everybody works on."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from keda_jobs.claims.check import QueueCheck
from keda_jobs.claims.table import ClaimTable, quote
from keda_jobs.postgres import Connection

# An index whose making was interrupted stays behind, and is of no use.
_INDEX = """
SELECT indisvalid, EXISTS (SELECT FROM pg_stat_progress_create_index WHERE index_relid = indexrelid) AS is_in_progress
FROM pg_index WHERE indexrelid = to_regclass($1)"""

_STRANDED_ROWS = "SELECT stranded_rows FROM {}_checks ORDER BY checked_at DESC LIMIT 1"


async def finish(connection: Connection, table: ClaimTable) -> None:
    """Make the index of failed rows, and ranges of rows that have none, where that was not done or interrupted."""
    await _create_index(connection, table)
    stranded = await connection.fetchval(_STRANDED_ROWS.format(table.queue))
    if stranded != 0:
        async with aclosing(QueueCheck(connection, table, repair=True).run(asyncio.Event())) as steps:
            async for _ in steps:
                pass


async def _create_index(connection: Connection, table: ClaimTable) -> None:
    """Make the index by which failed rows are found. It names no status: rows that complete at once stay HOT."""
    name = f"{table.queue_name}_queue_failed"
    qualified = f"{quote(table.schema or '')}.{name}"
    found = await connection.fetchrow(_INDEX, qualified)
    if found is not None and (found["indisvalid"] or found["is_in_progress"]):
        return
    if found is not None:
        await connection.execute(f"DROP INDEX CONCURRENTLY {qualified}")
    await connection.execute(
        f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON {table.sql_name} ({table.sql_key})"
        " WHERE error IS NOT NULL OR next_attempt_at = 'infinity'"
    )
