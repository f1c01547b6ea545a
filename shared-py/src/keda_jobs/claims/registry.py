"""Records of the claim queues of a database."""

from __future__ import annotations

from keda_jobs.claims.table import SCHEMA, ClaimTable
from keda_jobs.postgres import Connection

_QUEUES = """
SELECT batch_name, table_name, key_name, schema_name, queue_name FROM keda_jobs.batch_queues ORDER BY batch_name"""


async def list_queues(connection: Connection) -> list[ClaimTable]:
    """List every queue of the database, by the name of its batch job."""
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.batch_queues"):
        return []
    return [
        ClaimTable(batch_name, name, key, schema=schema, queue_name=queue_name)
        for batch_name, name, key, schema, queue_name in await connection.fetch(_QUEUES)
    ]
