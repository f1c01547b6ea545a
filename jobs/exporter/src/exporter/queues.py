"""Snapshots of the claim queues: their batches and their ranges, but no row of a job's own table."""

from __future__ import annotations

from datetime import datetime

from exporter.snapshots import QueueSnapshot
from keda_jobs.claims import ClaimTable
from keda_jobs.claims.registry import list_queues
from keda_jobs.postgres import Connection, open_connection, translate_errors
from keda_jobs.settings import PgSettings
from keda_jobs.status.queues import (
    read_batches,
    read_claimable,
    read_failed_permanently,
    read_hold,
    read_last_check,
    read_ranges,
)


async def read_queues(settings: PgSettings) -> list[QueueSnapshot]:
    """Read all queues in one transaction. Raises `DatabaseUnavailable`, `Misconfigured`."""
    with translate_errors():
        async with open_connection(settings, name="exporter") as connection:
            # It ends with the connection. The driver's own transaction would wait for a hanging server at its end.
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            now: datetime = await connection.fetchval("SELECT now()")
            return [await _read_queue(connection, table, now) for table in await list_queues(connection)]


async def _read_queue(connection: Connection, table: ClaimTable, now: datetime) -> QueueSnapshot:
    batches = await read_batches(connection, table)
    return QueueSnapshot(
        now=now,
        job=table.batch_name,
        claimable=await read_claimable(connection, table),
        batches=batches,
        failed_permanently=await read_failed_permanently(connection, table, batches),
        ranges=await read_ranges(connection, table),
        last_check=await read_last_check(connection, table),
        hold=await read_hold(connection, table),
    )
