"""Schema of a claim queue: numbered migrations, and roles with their rights.

There are four roles. `keda_jobs_owner` owns everything and cannot log in. `<table>_worker` claims rows and writes what
the handler returns. `<table>_scaler` reads one number. `keda_jobs_exporter` reads the state of every queue, but no row.
A migration is a file `NNNN_name.sql`. Migrations are applied once, in order of their numbers, and never changed after.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from asyncpg import exceptions as pg

from keda_jobs.claims.table import STATUS_COLUMNS, ClaimTable
from keda_jobs.errors import Misconfigured
from keda_jobs.postgres import Connection, one_line, translate_errors

OWNER = "keda_jobs_owner"
EXPORTER = "keda_jobs_exporter"

# An arbitrary number, the same for everyone who applies a schema.
_LOCK = 5_321_477_013

_MIGRATIONS = """
CREATE TABLE IF NOT EXISTS batch_migrations (
  scope text NOT NULL,
  number integer NOT NULL,
  name text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (scope, number)
)"""

# Errors of a migration, not of the server.
_MIGRATION_ERRORS = (
    pg.SyntaxOrAccessError,
    pg.DataError,
    pg.IntegrityConstraintViolationError,
    pg.FeatureNotSupportedError,
    pg.ObjectNotInPrerequisiteStateError,
    pg.PLPGSQLError,
)

# KEDA keeps one connection for each trigger and asks a second time when the first query failed.
_SCALER_LIMITS = "CONNECTION LIMIT 3"
_READER_SETTINGS = {"statement_timeout": "5s", "lock_timeout": "1s", "default_transaction_read_only": "on"}
# One scrape at a time, another while a new pod takes over, and one left behind by a failed scrape.
_EXPORTER_LIMITS = "CONNECTION LIMIT 3"
_WORKER_SETTINGS = {"idle_in_transaction_session_timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Migration:
    """One migration file, rendered for a table."""

    scope: str
    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Digest that reveals a change of an applied migration."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def worker_role(table: ClaimTable) -> str:
    """Return the role that workers log in with."""
    return f"{table.name}_worker"


def scaler_role(table: ClaimTable) -> str:
    """Return the role that KEDA logs in with."""
    return f"{table.name}_scaler"


def login_roles(table: ClaimTable) -> tuple[str, ...]:
    """Return the roles that need a password. The exporter's is the same for every table."""
    return worker_role(table), scaler_role(table), EXPORTER


async def apply(
    connection: Connection,
    table: ClaimTable,
    migrations: Traversable,
    passwords: Mapping[str, str] | None = None,
) -> list[str]:
    """Bring the schema up to date and return the names of the migrations applied.

    `migrations` is the job's own folder, which creates the table. `passwords` are set for the roles that they name, as
    SCRAM verifiers computed here. Everything happens in one transaction. Raises `Misconfigured` for a missing right, a
    migration that fails, and one that was changed after it was applied.
    """
    # Lock, role and search path are local to the transaction, because there may be a pooler.
    with translate_errors():
        async with connection.transaction():
            await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")
            schema = await _schema(connection)
            await _create_roles(connection, table, schema, passwords or {})
            await connection.execute(f"SET LOCAL ROLE {OWNER}; SET LOCAL search_path = {schema}; {_MIGRATIONS}")
            applied = [
                f"{migration.scope}/{migration.name}"
                for migration in _all_migrations(table, schema, migrations)
                if await _apply(connection, migration)
            ]
            for file in ("triggers.sql", "roles.sql"):
                await connection.execute(_render(_builtin(file), table, schema))
            return applied


async def _schema(connection: Connection) -> str:
    # Not the schema of the current role (`$user`), which the other roles would not find.
    schema = await connection.fetchval(
        "SELECT quote_ident(name) FROM unnest(current_schemas(false)) AS name WHERE name <> current_user LIMIT 1"
    )
    if schema is None:
        raise Misconfigured("no schema of the search_path exists; create one or set search_path")
    return str(schema)


def _builtin(path: str) -> Traversable:
    return resources.files("keda_jobs.claims").joinpath("migrations", path)


def _all_migrations(table: ClaimTable, schema: str, own: Traversable) -> Iterator[Migration]:
    yield from _read("keda-jobs", _builtin("tracking"), table, schema)
    yield from _read(table.batch_name, own, table, schema)
    yield from _read(f"{table.name}_queue", _builtin("queue"), table, schema)


def _read(scope: str, folder: Traversable, table: ClaimTable, schema: str) -> Iterator[Migration]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        number = file.name.partition("_")[0]
        if not number.isdecimal():
            raise Misconfigured(f"{scope}/{file.name}: a migration is named by a number, _ and words: 0002_more.sql")
        yield Migration(scope, int(number), file.name, _render(file, table, schema))


def _render(file: Traversable, table: ClaimTable, schema: str) -> str:
    names = {
        "table": table.name,
        "key": table.key,
        "batch_name": table.batch_name,
        "schema": schema,
        "triggers": f"{{{','.join(table.triggers)}}}",
        "worker": worker_role(table),
        "scaler": scaler_role(table),
        "exporter": EXPORTER,
        "written": ", ".join(f'"{column}"' for column in (*STATUS_COLUMNS, *table.writes)),
    }
    text = file.read_text(encoding="utf-8")
    for name, value in names.items():
        text = text.replace(f"{{{name}}}", value)
    return text


async def _apply(connection: Connection, migration: Migration) -> bool:
    applied = await connection.fetchval(
        "SELECT sha256 FROM batch_migrations WHERE scope = $1 AND number = $2", migration.scope, migration.number
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
        await connection.execute(migration.sql)
    except pg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{name}: {one_line(error)}; make {OWNER} its owner, or a member of its owner's role"
        ) from error
    except _MIGRATION_ERRORS as error:
        raise Misconfigured(f"{name}: {one_line(error)}") from error
    await connection.execute(
        "INSERT INTO batch_migrations (scope, number, name, sha256) VALUES ($1, $2, $3, $4)",
        migration.scope,
        migration.number,
        migration.name,
        migration.sha256,
    )
    return True


async def _create_roles(connection: Connection, table: ClaimTable, schema: str, passwords: Mapping[str, str]) -> None:
    worker, scaler = worker_role(table), scaler_role(table)
    try:
        await _create_role(connection, OWNER, "NOLOGIN")
        await _create_role(connection, worker, "LOGIN", _WORKER_SETTINGS)
        await _create_role(connection, scaler, f"LOGIN {_SCALER_LIMITS}", _READER_SETTINGS)
        await _create_role(connection, EXPORTER, f"LOGIN {_EXPORTER_LIMITS}", _READER_SETTINGS)
        if not await connection.fetchval("SELECT pg_has_role($1, 'USAGE')", OWNER):
            await connection.execute(f"GRANT {OWNER} TO CURRENT_USER")
        await connection.execute(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {OWNER}")
        for role, password in passwords.items():
            await connection.execute(f"ALTER ROLE {role} PASSWORD '{_verifier(role, password)}'")
    except pg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{one_line(error)}; apply the schema as the database's owner, with the right to create the roles"
            f" {OWNER}, {EXPORTER}, {worker} and {scaler}"
        ) from error


async def _create_role(
    connection: Connection, role: str, options: str, settings: Mapping[str, str] | None = None
) -> None:
    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
        return
    await connection.execute(f"CREATE ROLE {role} {options}")
    for name, value in (settings or {}).items():
        await connection.execute(f"ALTER ROLE {role} SET {name} = '{value}'")


def _verifier(role: str, password: str) -> str:
    """Compute the SCRAM-SHA-256 verifier of `password`, which keeps it out of server logs (RFC 5803, RFC 7677)."""
    if not (password and password.isascii() and password.isprintable()):
        raise Misconfigured(f"the password of {role} must be one or more printable ASCII characters")
    salt, iterations = os.urandom(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    salt64, stored64, server64 = (base64.b64encode(part).decode() for part in (salt, stored, server))
    return f"SCRAM-SHA-256${iterations}:{salt64}${stored64}:{server64}"
