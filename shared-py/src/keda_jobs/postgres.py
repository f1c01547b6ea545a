"""Connections to PostgreSQL, and its errors in the words of this house."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit

import asyncpg
from asyncpg import PostgresError
from asyncpg import exceptions as pg

from keda_jobs.errors import DatabaseUnavailable, Misconfigured
from keda_jobs.settings import PgSettings

__all__ = [
    "Connection",
    "Pool",
    "PostgresError",
    "connect",
    "connected",
    "one_line",
    "pool",
    "transaction",
    "translate_errors",
]

# Generic in their stubs only.
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

_CONNECT_S = 5.0

_AWAY = (
    OSError,  # refused, reset, unknown host; TimeoutError is one
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,  # shut down, starting up, cancelled
    pg.InsufficientResourcesError,  # too many connections, disk full
    pg.PostgresSystemError,
    pg.InternalServerError,  # also what poolers say in their own words
    pg.TransactionRollbackError,
    pg.LockNotAvailableError,
    pg.IdleInTransactionSessionTimeoutError,
    pg.ReadOnlySQLTransactionError,  # a standby that is about to be promoted
    pg.InterfaceError,
    pg.InternalClientError,
)

# Parameters of a URL that tune libpq itself. asyncpg would send them to the server, which does not know them.
_OF_LIBPQ = {
    "connect_timeout", "fallback_application_name", "gssencmode", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "load_balance_hosts", "max_protocol_version", "min_protocol_version", "sslcertmode",
    "sslcompression", "sslsni", "tcp_user_timeout",
}  # fmt: skip
# Those that ask for a safety which asyncpg cannot give, unless they have this value.
_UNSAFE = {"channel_binding": ("prefer", "disable"), "require_auth": (), "requirepeer": (), "hostaddr": ()}
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


@contextmanager
def translate_errors() -> Iterator[None]:
    """Inside, errors become `DatabaseUnavailable` where waiting may help, `Misconfigured` where it does not."""
    try:
        yield
    except (
        pg.ClientConfigurationError,
        pg.InvalidAuthorizationSpecificationError,
        pg.InvalidCatalogNameError,
    ) as error:
        raise Misconfigured(f"PG_DSN: {one_line(error)}") from error
    except (pg.UndefinedTableError, pg.UndefinedColumnError, pg.UndefinedFunctionError) as error:
        raise Misconfigured(f"{one_line(error)}; apply the job's schema first") from error
    except pg.InsufficientPrivilegeError as error:
        raise Misconfigured(
            f"{one_line(error)}; use the role that the schema made for this, or apply the schema again"
        ) from error
    except pg.SyntaxOrAccessError as error:
        raise Misconfigured(one_line(error)) from error
    except _AWAY as error:
        raise DatabaseUnavailable(f"PostgreSQL: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """What `error` says, without PostgreSQL's DETAIL, which may show a whole row."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    if isinstance(error, pg.InterfaceError) and isinstance(error.__context__, pg.PostgresError):
        error = error.__context__  # the server ended the connection, and the transaction could not be ended
    text = error.args[0] if isinstance(error, pg.PostgresError | pg.InterfaceError) else error
    return " ".join(str(text).split()) or type(error).__name__


async def connect(settings: PgSettings, *, name: str, timeout_s: float = _CONNECT_S) -> Connection:
    """One connection, shown as `name` in pg_stat_activity. Raises `DatabaseUnavailable`, `Misconfigured`."""
    with translate_errors():
        return await _open(
            settings.pg_dsn.get_secret_value(),
            timeout=timeout_s,
            statement_cache_size=0,
            server_settings={"application_name": name},
        )


@asynccontextmanager
async def connected(settings: PgSettings, *, name: str) -> AsyncIterator[Connection]:
    """A connection for the time of the block. Raises `DatabaseUnavailable`, `Misconfigured`."""
    connection = await connect(settings, name=name)
    try:
        yield connection
    finally:
        # Not `close`, which waits for a server that may be gone.
        connection.terminate()


@asynccontextmanager
async def pool(settings: PgSettings, *, name: str, connections: int, call_s: float) -> AsyncIterator[Pool]:
    """Up to `connections` connections, made when needed; a call that takes over `call_s` seconds is given up."""
    made = asyncpg.create_pool(
        settings.pg_dsn.get_secret_value(),
        connect=_open,
        min_size=0,
        max_size=connections,
        timeout=_CONNECT_S,
        command_timeout=call_s,
        statement_cache_size=0,
        server_settings={"application_name": name},
        reset=_keep_as_it_is,
    )
    try:
        await made
        yield made
    finally:
        made.terminate()


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """A transaction on a connection of `pool`; inside, errors are translate_errors.

    A pooler in transaction mode may stand between, so nothing may be set or prepared for longer than this.
    """
    with translate_errors():
        async with pool.acquire() as connection, connection.transaction():
            yield connection


async def _keep_as_it_is(_connection: object) -> None:
    """Instead of RESET ALL after each use: whatever is set here is set for one transaction."""


async def _open(dsn: str | None = None, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """`asyncpg.connect`, for a URL that was written for libpq. Raises `Misconfigured` besides errors of asyncpg."""
    try:
        return await asyncpg.connect(**(options | _arguments(dsn or "")))
    except (pg.ClientConfigurationError, pg.UndefinedObjectError, pg.DataError, ssl.SSLCertVerificationError) as error:
        raise Misconfigured(f"PG_DSN: {one_line(error)}") from error
    except (ValueError, OverflowError):  # the latter for a port beyond 65535
        # Its text may hold a part of the password.
        raise Misconfigured(
            "PG_DSN cannot be read as a URL; write characters such as @ : / # ? % in user and password as %40 and so on"
        ) from None


def _arguments(dsn: str) -> dict[str, Any]:
    url = urlsplit(dsn)
    parameters = dict(parse_qsl(url.query, keep_blank_values=True))
    for name, harmless in _UNSAFE.items():
        if parameters.pop(name, None) not in (None, *harmless):
            raise Misconfigured(f"PG_DSN: {name} is not supported; leave it out and set sslmode=verify-full")
    if parameters.get("sslrootcert") == "system":
        parameters["sslrootcert"] = ssl.get_default_verify_paths().cafile or "of the system's certificates"
    for name in _FILES:
        if name in parameters and not Path(parameters[name]).is_file():
            raise Misconfigured(f"PG_DSN: {name}: there is no file {parameters[name]}")
    given = {} if "connect_timeout" not in parameters else {"timeout": float(parameters["connect_timeout"]) or None}
    query = urlencode({name: value for name, value in parameters.items() if name not in _OF_LIBPQ})
    return given | {"dsn": url._replace(query=query).geturl()}
