"""Connections to PostgreSQL, and its errors translated into ours."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, TypeAlias

import asyncpg
from asyncpg import exceptions as pg

from keda_jobs.dsn import arguments
from keda_jobs.errors import DatabaseUnavailable, JobError, Misconfigured
from keda_jobs.settings import PgSettings

# Generic in their stubs only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_CONNECT_S = 5.0

_MISCONFIGURED = (
    pg.ClientConfigurationError,
    pg.InvalidAuthorizationSpecificationError,
    pg.InvalidCatalogNameError,
    pg.SyntaxOrAccessError,
)
_UNAVAILABLE = (
    OSError,  # refused, reset, unknown host; TimeoutError is one
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,  # shutting down, starting up, cancelled
    pg.InsufficientResourcesError,  # too many connections, disk full
    pg.PostgresSystemError,
    pg.InternalServerError,  # also used by poolers for errors of their own
    pg.TransactionRollbackError,
    pg.LockNotAvailableError,
    pg.IdleInTransactionSessionTimeoutError,
    pg.ReadOnlySQLTransactionError,  # a standby before its promotion
    pg.InterfaceError,
)
_BLOCKED = (pg.LockNotAvailableError, pg.TransactionRollbackError)
# Errors of asyncpg for a value that Python cannot hold, or that has no codec.
UNDECODABLE = (ValueError, ArithmeticError, BufferError, pg.UnsupportedClientFeatureError, pg.InternalClientError)


class LoginRefused(DatabaseUnavailable):
    """Refusal of a password. It may be the one of before a rotation, so each new login reads it again."""


class StatementRefused(JobError):
    """PostgreSQL, a trigger or the driver refuses a statement because of a row.

    The text can be logged. `reason` is what the server says, which may hold values of the row.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(f"PostgreSQL refused a row: {message}")
        self.reason = message if reason is None else reason


class StatementGivenUp(DatabaseUnavailable):
    """The server gave up one statement, after waiting for a lock for example. Parts of it may succeed.

    The text can be logged. `reason` is for the row.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = message if reason is None else reason


class StatementBlocked(StatementGivenUp):
    """Other transactions kept one statement from its end, by a lock or a conflict. No row is at fault."""


class StatementCancelled(StatementGivenUp):
    """The server cancelled one statement after its time limit, or because somebody asked for it."""


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise our errors instead of those of PostgreSQL and its driver.

    `DatabaseUnavailable`: waiting may help. `Misconfigured`: it does not. `StatementRefused`: a row is the cause.
    """
    try:
        yield
    except (pg.PostgresError, pg.PostgresWarning, OSError, pg.InterfaceError, pg.InternalClientError) as error:
        translated = translate(error)
        # The error of a refused row holds the row, and whoever logs a traceback logs the causes too.
        raise translated from (None if isinstance(translated, StatementRefused) else error)


def translate(error: Exception) -> JobError:
    """Return our error for one of PostgreSQL or its driver."""
    # A function may raise any error, with any text: that the server is full, or is not there. It is there for others.
    is_of_a_function = isinstance(error, pg.PostgresError) and bool(error.context)
    text = _without_values(error) if is_of_a_function else one_line(error)
    # asyncpg has one class for a value without a codec, and for a statement on a connection that the server is closing.
    if isinstance(error, pg.InternalClientError) and "no decoder" not in str(error):
        return DatabaseUnavailable(f"PostgreSQL: {text}")
    if isinstance(error, UNDECODABLE) or (is_of_a_function and isinstance(error, _MISCONFIGURED)):
        return StatementRefused(_without_values(error), one_line(error))
    if isinstance(error, pg.InvalidPasswordError):
        return LoginRefused(f"PostgreSQL: {text}; check the password in PG_DSN, or PGPASSWORD where it has none")
    if isinstance(error, _MISCONFIGURED):
        return Misconfigured(_advice(error))
    if isinstance(error, pg.QueryCanceledError):
        return StatementCancelled(f"PostgreSQL: {text}", one_line(error))
    if isinstance(error, _BLOCKED):
        return StatementBlocked(f"PostgreSQL: {text}")
    # After an internal error the server answers the next statement.
    if isinstance(error, pg.InternalServerError) or (is_of_a_function and isinstance(error, _UNAVAILABLE)):
        return StatementGivenUp(f"PostgreSQL: {text}")
    if isinstance(error, _UNAVAILABLE):
        return DatabaseUnavailable(f"PostgreSQL: {text}")
    return StatementRefused(_without_values(error), one_line(error))


def _advice(error: Exception) -> str:
    match error:
        case pg.UndefinedTableError() | pg.UndefinedColumnError() | pg.UndefinedFunctionError():
            return f"{one_line(error)}; apply the job's schema first"
        case pg.InsufficientPrivilegeError():
            return f"{one_line(error)}; use the role that the schema creates for this, or apply the schema again"
        case pg.SyntaxOrAccessError():
            return one_line(error)
        case _:
            return f"PG_DSN: {one_line(error)}"


def _without_values(error: Exception) -> str:
    """Describe an error by its code and by the names in it. Its text may hold values of a row."""
    if not isinstance(error, pg.PostgresError):
        return f"{type(error).__name__} of the driver"
    names = {
        "constraint": error.constraint_name, "table": error.table_name, "column": error.column_name,
        "type": error.data_type_name,
    }  # fmt: skip
    named = (f"{kind} {name}" for kind, name in names.items() if name)
    return ", ".join((f"{type(error).__name__} ({error.sqlstate})", *named))


@contextmanager
def translate_all_errors() -> Iterator[None]:
    """Translate errors as `translate_errors`, for a person who may see the row: a command reports it in one line."""
    try:
        with translate_errors():
            yield
    except StatementRefused as refused:
        raise JobError(f"PostgreSQL: {refused.reason}") from None


def one_line(error: Exception) -> str:
    """Format `error` in one line, without PostgreSQL's DETAIL, which may show a whole row."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, pg.InterfaceError) and isinstance(error.__context__, pg.PostgresError):
        error = error.__context__  # the server closed the connection, so the rollback failed too
    text = error.args[0] if isinstance(error, pg.PostgresError | pg.InterfaceError) else error
    return " ".join(str(text).split()) or type(error).__name__


def storable(connection: Connection, text: str) -> str:
    """Escape what a database of another encoding than UTF-8 may have no character for."""
    encoding = connection.get_settings().server_encoding
    return text if encoding in ("UTF8", "SQL_ASCII") else text.encode("ascii", "backslashreplace").decode()


@asynccontextmanager
async def open_connection(settings: PgSettings, *, name: str) -> AsyncIterator[Connection]:
    """Connect for the duration of the block, under a `name` that pg_stat_activity shows.

    Raises `DatabaseUnavailable`, `Misconfigured`.
    """
    with translate_errors():
        connection = await _open(
            settings,
            timeout=_CONNECT_S,
            statement_cache_size=0,
            server_settings={"application_name": name},
        )
    try:
        yield connection
    finally:
        # Not `close`, which waits for an answer from a server that may be gone.
        connection.terminate()


@asynccontextmanager
async def open_pool(settings: PgSettings, *, name: str, connections: int, call_s: float) -> AsyncIterator[Pool]:
    """Open a pool of up to `connections` connections. A call that takes longer than `call_s` seconds fails."""
    connection_pool = asyncpg.create_pool(
        connect=partial(_open, settings),
        init=_convert_json,
        min_size=0,
        max_size=connections,
        timeout=_CONNECT_S,
        command_timeout=call_s,
        statement_cache_size=0,
        server_settings={"application_name": name},
        reset=_skip_reset,
    )
    try:
        await connection_pool
        yield connection_pool
    finally:
        connection_pool.terminate()


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Run the block in a transaction on a connection of `pool`, with errors translated.

    There may be a pooler in transaction mode, so nothing may be set or prepared for longer than the transaction. Each
    statement sees what others have committed, whatever isolation level the role or the database has by default.
    """
    with translate_errors():
        try:
            async with pool.acquire() as connection, connection.transaction(isolation="read_committed"):
                yield connection
        except pg.ReadOnlySQLTransactionError:
            # After a failover the address leads to another server, which a new connection finds.
            await pool.expire_connections()
            raise
        except UNDECODABLE as error:
            raise translate(error) from None


async def _convert_json(connection: Connection) -> None:
    """Read `json` and `jsonb` as Python values, and write such values. A string that is written is JSON already."""
    # A pooler keeps to one server for a transaction.
    async with connection.transaction():
        for name in ("json", "jsonb"):
            await connection.set_type_codec(name, schema="pg_catalog", encoder=encode_json, decoder=_decode_json)


def encode_json(value: object) -> str:
    """Write a value as JSON. A string is JSON already. Raises `ValueError`."""
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except (TypeError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from error


def _decode_json(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


async def _skip_reset(_connection: object) -> None:
    """Do nothing: settings are local to a transaction, so asyncpg's RESET ALL after each use is a wasted round trip."""


async def _open(settings: PgSettings, _dsn: str | None = None, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """Connect with today's URL and password. A pool passes none. Raises `Misconfigured`, and asyncpg's errors."""
    today = settings.reread()
    password = None if today.pgpassword is None else today.pgpassword.get_secret_value()
    try:
        return await asyncpg.connect(**(options | arguments(today.pg_dsn.get_secret_value(), password)))
    except (pg.ClientConfigurationError, pg.UndefinedObjectError, pg.DataError, ssl.SSLCertVerificationError) as error:
        raise Misconfigured(f"PG_DSN: {one_line(error)}") from error
    except (ValueError, OverflowError):  # OverflowError: a port beyond 65535
        # The error's text may contain part of the password.
        raise Misconfigured(
            "PG_DSN cannot be read as a URL; write characters such as @ : / # ? % in user and password as %40 and so on"
        ) from None
