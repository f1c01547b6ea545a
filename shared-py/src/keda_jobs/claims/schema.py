"""Schema of a claim queue, applied: numbered migrations, and the rights of its roles."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from importlib.resources.abc import Traversable
from operator import eq

from asyncpg import exceptions as pg

from keda_jobs.claims import online
from keda_jobs.claims.binding import check_columns
from keda_jobs.claims.migration_files import (
    FIRST,
    Migration,
    own_migrations,
    queue_migrations,
    render_rights,
    tracking_migrations,
)
from keda_jobs.claims.registry import list_queues
from keda_jobs.claims.requirements import check_table
from keda_jobs.claims.roles import OWNER, create_roles, login_roles
from keda_jobs.claims.table import SCHEMA, ClaimTable, quote
from keda_jobs.errors import DatabaseUnavailable, Misconfigured
from keda_jobs.postgres import Connection, one_line, translate_errors

_LOCK_TIMEOUT_S = 2
_ATTEMPTS = 30

# An arbitrary number, the same for everyone who applies a schema.
_LOCK = 5_321_477_013

_MIGRATIONS = f"""
CREATE TABLE IF NOT EXISTS {SCHEMA}.batch_migrations (
  scope text NOT NULL,
  number integer NOT NULL,
  name text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, number)
)"""

# Where the table is, or else the first schema of the path that is neither the role's own (`$user`), which the other
# roles would not find, nor the library's.
_SCHEMA_IN_PATH = """
SELECT coalesce(
  (SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE pg_class.oid = to_regclass($1) AND nspname = ANY(current_schemas(false))),
  (SELECT name FROM unnest(current_schemas(false)) AS name WHERE name NOT IN (current_user, $2) LIMIT 1)
)"""

# The records of an earlier version, in the schema of the table.
_HAS_EARLIER_VERSION = """
SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1 || '.batch_migrations') AND relowner = $2::regrole)"""
_HAS_EARLIER_QUEUES = """
SELECT EXISTS (SELECT FROM pg_class WHERE oid = to_regclass($1 || '.batch_queues') AND relowner = $2::regrole)"""
_EARLIER_QUEUES = "SELECT batch_name, table_name, key_name FROM {}.batch_queues ORDER BY 1"

_BEHIND = "SELECT scope FROM keda_jobs.batch_migrations GROUP BY scope HAVING max(number) < $1"

_REGISTER = """
INSERT INTO keda_jobs.batch_queues (batch_name, schema_name, table_name, key_name, queue_name)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"""

_INTRUDERS = """
SELECT string_agg(DISTINCT CASE role WHEN 0 THEN 'PUBLIC' ELSE role::regrole::text END, ', ')
FROM pg_namespace, LATERAL (
  SELECT nspowner UNION SELECT grantee FROM aclexplode(nspacl) WHERE privilege_type = 'CREATE'
) AS allowed (role)
WHERE nspname = $1 AND role <> $2::regrole"""

# Errors of a migration, not of the server.
_MIGRATION_ERRORS = (
    pg.SyntaxOrAccessError,
    pg.DataError,
    pg.IntegrityConstraintViolationError,
    pg.FeatureNotSupportedError,
    pg.ObjectNotInPrerequisiteStateError,
    pg.PLPGSQLError,
)


async def apply(
    connection: Connection,
    table: ClaimTable,
    migrations: Traversable,
    passwords: Mapping[str, str] | None = None,
) -> list[str]:
    """Bring the schema up to date and return the names of the migrations applied.

    `migrations` is the job's own folder, which creates the table. `passwords` are set for the roles that they name, as
    SCRAM verifiers computed here. All that is short happens in one transaction, and what reads every row after it.
    Raises `Misconfigured` for a missing right, a migration that fails, one that was changed after it was applied, and
    for a warning of the server, and `DatabaseUnavailable` when others lock the table all the time.
    """
    with translate_errors():
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                table, applied = await _apply_all(connection, table, migrations, passwords or {})
                break
            except pg.LockNotAvailableError as error:
                if attempt == _ATTEMPTS:
                    raise DatabaseUnavailable(
                        f"other transactions lock {table.name} for more than {_LOCK_TIMEOUT_S} s; end them, try again"
                    ) from error
                await asyncio.sleep(_LOCK_TIMEOUT_S)
        await online.finish(connection, table)
        return applied


async def _apply_all(
    connection: Connection, table: ClaimTable, migrations: Traversable, passwords: Mapping[str, str]
) -> tuple[ClaimTable, list[str]]:
    # Lock, role and search path are local to the transaction, because there may be a pooler.
    async with connection.transaction(isolation="read_committed"):
        await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
        # Whoever comes after a transaction that waits for a lock of the table waits too.
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
        # A level of the role or the database may hide the warnings that `_execute` looks for.
        await connection.execute("SET LOCAL client_min_messages = warning")
        await create_roles(connection, table, passwords)
        await _create_own_schema(connection)
        table = replace(table, schema=await _find_schema(connection, table))
        await _grant_schema(connection, table)
        await connection.execute(f"SET LOCAL ROLE {OWNER}")
        applied = await _migrate(connection, table, migrations)
        await check_columns(connection, table)
        for name, sql in render_rights(table):
            await _execute(connection, name, sql)
        return table, applied


async def _create_own_schema(connection: Connection) -> None:
    """Create the schema of the library. Raises `Misconfigured` when another role owns it or may create in it."""
    await _execute(connection, f"schema {SCHEMA}", f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} AUTHORIZATION {OWNER}")
    if intruders := await connection.fetchval(_INTRUDERS, SCHEMA, OWNER):
        raise Misconfigured(
            f"roles besides {OWNER} may create objects in the schema {SCHEMA}, which the queues trust: {intruders};"
            f" ALTER SCHEMA {SCHEMA} OWNER TO {OWNER}, and REVOKE CREATE ON SCHEMA {SCHEMA} from them"
        )


async def _find_schema(connection: Connection, table: ClaimTable) -> str:
    """Return the schema of the table: as declared, or by the search path. Raises `Misconfigured`."""
    schema = table.schema or await connection.fetchval(_SCHEMA_IN_PATH, quote(table.name), SCHEMA)
    if schema is None:
        raise Misconfigured("no schema of the search_path exists; create one or set search_path")
    if schema == SCHEMA:
        raise Misconfigured(f"{table.name} is in {SCHEMA}, the library's schema; move it: ALTER TABLE … SET SCHEMA …")
    if not await connection.fetchval("SELECT 1 FROM pg_namespace WHERE nspname = $1", schema):
        raise Misconfigured(f"there is no schema {schema}; create it, or declare another for {table.name}")
    return str(schema)


async def _grant_schema(connection: Connection, table: ClaimTable) -> None:
    """Let the queue's roles use the schema of the table. The role that applies can grant it, the owner cannot."""
    for role, right in [(OWNER, "CREATE"), *((role, "USAGE") for role in (OWNER, *login_roles(table)))]:
        if not await connection.fetchval("SELECT has_schema_privilege($1, $2, $3)", role, table.schema, right):
            grant = f"GRANT {right} ON SCHEMA {quote(table.schema or '')} TO {role}"
            await _execute(connection, f"schema {table.schema}", grant)


async def _migrate(connection: Connection, table: ClaimTable, own: Traversable) -> list[str]:
    """Apply what is missing to every queue of the database, because they share tables and functions."""
    await _create_records(connection, table)
    behind = {row[0] for row in await connection.fetch(_BEHIND, FIRST)}
    tracking = tracking_migrations(table)
    earlier = [migration for queue in await _earlier_queues(connection, table) for migration in queue_migrations(queue)]
    upgrades = [found for found in (*tracking, *earlier) if found.is_upgrade and found.scope in behind]
    path = quote(table.schema or "")
    applied = await _apply_each(connection, upgrades, path)
    applied += await _apply_each(connection, (found for found in tracking if not found.is_upgrade))
    applied += await _apply_each(connection, own_migrations(table, own), path)
    await check_table(connection, table)
    await _register(connection, table)
    for queue in await list_queues(connection):
        applied += await _apply_each(connection, (found for found in queue_migrations(queue) if not found.is_upgrade))
    return applied


async def _create_records(connection: Connection, table: ClaimTable) -> None:
    """Create the records of applied migrations. Those of an earlier version move."""
    if await connection.fetchval(_HAS_EARLIER_VERSION, quote(table.schema or ""), OWNER):
        if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", f"{SCHEMA}.batch_migrations"):
            raise Misconfigured(
                f"the schema {table.schema} has queues of an earlier version, and so had another that was upgraded;"
                f" a database takes one: drop the tables of the queues in {table.schema}, and batch_migrations"
            )
        await connection.execute(f"ALTER TABLE {quote(table.schema or '')}.batch_migrations SET SCHEMA {SCHEMA}")
    await connection.execute(_MIGRATIONS)


async def _earlier_queues(connection: Connection, table: ClaimTable) -> list[ClaimTable]:
    """List the queues of an earlier version, which are in the schema of their table."""
    if not await connection.fetchval(_HAS_EARLIER_QUEUES, quote(table.schema or ""), OWNER):
        return []
    return [
        ClaimTable(batch_name, name, key, schema=table.schema, queue_name=name)
        for batch_name, name, key in await connection.fetch(_EARLIER_QUEUES.format(quote(table.schema or "")))
    ]


async def _register(connection: Connection, table: ClaimTable) -> None:
    """Record the queue. Raises `Misconfigured` when its job, its table or its name belongs to another."""
    given = table.batch_name, table.schema, table.name, table.key, table.queue_name
    await connection.execute(_REGISTER, *given)
    for other in await list_queues(connection):
        found = other.batch_name, other.schema, other.name, other.key, other.queue_name
        if found != given and any(map(eq, (found[0], found[1:3], found[4]), (given[0], given[1:3], given[4]))):
            raise Misconfigured(
                f"the queue {other.queue_name} of the job {other.batch_name} is on {other.sql_name} with the key"
                f" {other.sql_key}, so {table.batch_name} cannot have {table.queue_name} on {table.sql_name} with"
                f" {table.sql_key}; give the job another name, or set the search_path, or declare the table's schema"
            )


async def _execute(connection: Connection, name: str, sql: str) -> None:
    """Execute statements. Raises `Misconfigured` for a warning: a right that was not granted is nothing else."""
    warnings: list[str] = []

    def listen(_connection: object, message: pg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING":
            warnings.append(" ".join(str(message.message).split()))

    connection.add_log_listener(listen)
    try:
        await connection.execute(sql)
    finally:
        connection.remove_log_listener(listen)
    if warnings:
        raise Misconfigured(f"{name}: PostgreSQL warned: {'; '.join(warnings)}; nothing was changed")


async def _apply_each(connection: Connection, migrations: Iterable[Migration], path: str = "pg_catalog") -> list[str]:
    """Apply migrations with a search path. The library's own find no object by one that others could have made."""
    await connection.execute(f"SET LOCAL search_path = {path}")
    return [f"{found.scope}/{found.name}" for found in migrations if await _apply(connection, found)]


async def _apply(connection: Connection, migration: Migration) -> bool:
    applied = await connection.fetchval(
        "SELECT sha256 FROM keda_jobs.batch_migrations WHERE scope = $1 AND number = $2",
        migration.scope,
        migration.number,
    )
    if applied == migration.sha256:
        return False
    name = f"{migration.scope}/{migration.name}"
    if applied is not None:
        raise Misconfigured(
            f"{name} differs from what was applied as number {migration.number}; restore it and write the change as a"
            " new migration with the next number"
        )
    try:
        await _execute(connection, name, migration.sql)
    except pg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{name}: {one_line(error)}; make {OWNER} its owner, or a member of its owner's role"
        ) from error
    except pg.LockNotAvailableError:
        raise
    except _MIGRATION_ERRORS as error:
        raise Misconfigured(f"{name}: {one_line(error)}") from error
    await connection.execute(
        "INSERT INTO keda_jobs.batch_migrations (scope, number, name, sha256) VALUES ($1, $2, $3, $4)",
        migration.scope,
        migration.number,
        migration.name,
        migration.sha256,
    )
    return True
