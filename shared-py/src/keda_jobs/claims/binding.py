"""Checks of a table before a worker claims from it."""

from __future__ import annotations

from dataclasses import replace

from keda_jobs.claims.registry import list_queues
from keda_jobs.claims.table import ClaimTable
from keda_jobs.claims.values import ColumnType
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection

# The assignment to a column checks the length of `varchar(10)` and the constraints of a domain. A cast to the one would
# truncate the value, and an array of the other is refused as a whole. Of a `name` even a cast from text truncates.
_COLUMN_TYPES = """
SELECT attname, format_type(base.oid, -1),
  base.typtype = 'e' OR base.oid = ANY('{json, jsonb, xml}'::regtype[])
    OR base.typcategory = 'S' AND base.oid <> 'name'::regtype AS is_text,
  base.oid = ANY('{json, jsonb}'::regtype[]) AS is_json
FROM pg_attribute CROSS JOIN LATERAL (
  WITH RECURSIVE below AS (
    SELECT oid, typtype, typcategory, typbasetype FROM pg_type WHERE oid = atttypid
    UNION ALL
    SELECT type.oid, type.typtype, type.typcategory, type.typbasetype
    FROM below JOIN pg_type AS type ON type.oid = below.typbasetype WHERE below.typtype = 'd'
  )
  SELECT oid, typtype, typcategory FROM below WHERE typtype <> 'd'
) AS base
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


async def read_column_types(connection: Connection, table: ClaimTable) -> dict[str, ColumnType]:
    """Return the types of the table's columns.

    Raises `Misconfigured` when the table is no queue, lacks a column of the job, or may have rows that are never seen.
    """
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", table.claimable):
        raise Misconfigured(f"the database has no claim queue on {table.name}; apply the job's schema first")
    types = await check_columns(connection, table)
    await check_obstacles(connection, table)
    return types


async def check_columns(connection: Connection, table: ClaimTable) -> dict[str, ColumnType]:
    """Return the types of the table's columns. Raises `Misconfigured` for one that the job cannot read or write."""
    columns = await connection.fetch(_COLUMN_TYPES, table.sql_name)
    types = {str(column[0]): ColumnType(*column[1:]) for column in columns}
    if missing := [column for column in (table.key, *table.reads, *table.writes) if column not in types]:
        raise Misconfigured(
            f"{table.name} has no column {', '.join(missing)}; create it by a migration of the job, apply the schema"
        )
    if arrays := [column for column in table.writes if types[column].sql.endswith("[]")]:
        raise Misconfigured(f"a claim queue cannot write {table.name}.{', '.join(arrays)}: arrays are not supported")
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
