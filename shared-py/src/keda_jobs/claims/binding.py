"""Checks of a table before a worker claims from it."""

from __future__ import annotations

from dataclasses import replace

from keda_jobs.claims.registry import list_queues
from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection

# Without the length of `varchar(10)`: a cast to it truncates the value, where an assignment refuses it.
_COLUMN_TYPES = """
SELECT attname, format_type(atttypid, -1) FROM pg_attribute
WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped"""

# The owner's functions see every row unless security is forced. A subscription fires no trigger of a statement.
_OBSTACLES = """
SELECT relforcerowsecurity OR row_security_active(oid) AS hides_rows,
  ARRAY(
    SELECT name FROM unnest($2::text[]) AS name WHERE NOT EXISTS (
      SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname = name AND tgenabled IN ('O', 'A')
    )
  ) AS triggers_off,
  EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = pg_class.oid) AS is_subscribed,
  current_user AS role
FROM pg_class WHERE oid = to_regclass($1)"""


async def find_table(connection: Connection, table: ClaimTable) -> ClaimTable:
    """Return the table with the schema that it was found in when its queue was made. Raises `Misconfigured`."""
    found = {queue.queue_name: queue for queue in await list_queues(connection)}.get(table.queue_name)
    if found is None or (found.name, found.key) != (table.name, table.key):
        raise Misconfigured(f"the database has no claim queue on {table.name}; apply the job's schema first")
    return replace(table, schema=found.schema)


async def read_column_types(connection: Connection, table: ClaimTable) -> dict[str, str]:
    """Return the SQL types of the table's columns.

    Raises `Misconfigured` when the table is no queue, lacks a column of the job, or may have rows that are never seen.
    """
    columns = await connection.fetch(_COLUMN_TYPES, table.sql_name)
    is_queue = await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table.claimable)
    types = {str(column[0]): str(column[1]) for column in columns}
    if not types or not is_queue:
        raise Misconfigured(f"the database has no claim queue on {table.name}; apply the job's schema first")
    if missing := [column for column in (table.key, *table.reads, *table.writes) if column not in types]:
        raise Misconfigured(f"{table.name} has no column {', '.join(missing)}; apply the job's schema first")
    if arrays := [column for column in table.writes if types[column].endswith("[]")]:
        raise Misconfigured(f"a claim queue cannot write {table.name}.{', '.join(arrays)}: arrays are not supported")
    await check_obstacles(connection, table)
    return types


async def check_obstacles(connection: Connection, table: ClaimTable) -> None:
    """Raise `Misconfigured` when rows of the table may be hidden from this role, or may be missing in the queue."""
    [(hides_rows, triggers_off, is_subscribed, role)] = await connection.fetch(
        _OBSTACLES, table.sql_name, list(table.triggers)
    )
    if hides_rows:
        raise Misconfigured(
            f"row-level security may hide rows of {table.name} from {role}; do not force it, and"
            f" ALTER ROLE {role} BYPASSRLS"
        )
    if triggers_off:
        raise Misconfigured(
            f"rows of {table.name} may be missing in its queue, because triggers are off: {', '.join(triggers_off)};"
            f" ALTER TABLE {table.sql_name} ENABLE ALWAYS TRIGGER each of them, then keda-jobs batch check --repair"
        )
    if is_subscribed:
        raise Misconfigured(
            f"{table.name} is filled by logical replication, which queues no rows; drop its subscription"
        )
