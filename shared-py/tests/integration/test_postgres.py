"""Connections to PostgreSQL: every error is one line, and says whether waiting may help."""

from __future__ import annotations

import asyncio
import signal
import socket
import traceback
from collections.abc import Awaitable
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.errors import DatabaseUnavailable, Misconfigured
from keda_jobs.postgres import StatementRefused, open_connection, open_pool, transaction
from keda_jobs.settings import PgSettings, load_settings
from stack import PostgresServer, until
from stack.ports import free_port

_SECRET = "s3cr3t"
_UNSUPPORTED = "is not supported; leave it out and set sslmode=verify-full"
_CUT = "connection was closed in the middle of operation: "
_SSL_MODES = "disable, allow, prefer, require, verify-ca, verify-full"


def settings(dsn: str) -> PgSettings:
    return load_settings(PgSettings, pg_dsn=dsn)


async def query(dsn: str, statement: str = "SELECT 1", *, call_s: float = 10) -> object:
    """Run a statement over a pool, as workers do."""
    async with (
        open_pool(settings(dsn), name="test", connections=1, call_s=call_s) as connections,
        transaction(connections) as connection,
    ):
        return await connection.fetchval(statement)


async def line_of(call: Awaitable[object], kind: type[Exception]) -> str:
    with pytest.raises(kind) as raised:
        await call
    assert "\n" not in str(raised.value)
    assert _SECRET not in str(raised.value)
    return str(raised.value)


async def test_a_connection_has_a_name_and_answers(postgres_server: PostgresServer) -> None:
    async with open_connection(settings(postgres_server.dsn), name="me") as connection:
        assert await connection.fetchval("SHOW application_name") == "me"
    assert await query(postgres_server.dsn, "SHOW application_name") == "test"


@pytest.mark.parametrize(
    "parameters",
    [
        "sslmode=prefer",
        "sslmode=disable&connect_timeout=10",
        "connect_timeout=0&keepalives=1&keepalives_idle=30&tcp_user_timeout=1000",
        "channel_binding=prefer&gssencmode=disable&sslsni=1",
        "application_name=mine&options=-c%20search_path%3Dpublic",
        "target_session_attrs=read-write&load_balance_hosts=disable",
    ],
)
async def test_parameters_of_providers_urls_are_accepted(postgres_server: PostgresServer, parameters: str) -> None:
    assert await query(f"{postgres_server.dsn}?{parameters}") == 1


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (
            "channel_binding=require",
            "PG_DSN: channel_binding is not supported; leave it out and set sslmode=verify-full",
        ),
        (
            "require_auth=scram-sha-256",
            "PG_DSN: require_auth is not supported; leave it out and set sslmode=verify-full",
        ),
        ("pgbouncer=true", 'PG_DSN: unrecognized configuration parameter "pgbouncer"'),
        ("sslmode=very", f"PG_DSN: `sslmode` parameter must be one of: {_SSL_MODES}"),
        ("sslmode=verify-full&sslrootcert=/no/ca.pem", "PG_DSN: sslrootcert: there is no file /no/ca.pem"),
        ("statement_timeout=soon", 'PG_DSN: invalid value for parameter "statement_timeout": "soon"'),
    ],
)
async def test_an_unsupported_parameter_is_reported_in_one_line(
    postgres_server: PostgresServer, parameters: str, line: str
) -> None:
    assert await line_of(query(f"{postgres_server.dsn}?{parameters}"), Misconfigured) == line


@pytest.mark.parametrize("special", ["/", "#", "?", "@", ":", "[", "%"])
async def test_an_unescaped_password_is_never_shown(postgres_server: PostgresServer, special: str) -> None:
    dsn = f"postgresql://keda_jobs:{_SECRET}{special}{_SECRET}@127.0.0.1:{postgres_server.port}/keda_jobs"
    [answer] = await asyncio.gather(query(dsn), return_exceptions=True)
    if isinstance(answer, BaseException):
        assert isinstance(answer, Misconfigured | DatabaseUnavailable)
        assert _SECRET not in f"{answer} {answer.__cause__}"


async def test_the_error_of_a_malformed_url_says_how_to_write_it(postgres_server: PostgresServer) -> None:
    line = await line_of(query(f"postgresql://keda_jobs:{_SECRET}/x@127.0.0.1/keda_jobs"), Misconfigured)
    assert line == (
        "PG_DSN: must be a URL such as postgresql://user:password@host:5432/database; "
        "write characters such as @ : / # ? % in user and password as %40 and so on"
    )


async def test_a_refused_connection_is_unavailability() -> None:
    port = free_port()
    assert f"('127.0.0.1', {port})" in await line_of(query(f"postgresql://u@127.0.0.1:{port}/d"), DatabaseUnavailable)


async def test_a_silent_server_is_unavailability_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        dsn = f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d?connect_timeout=0.2"
        assert await line_of(query(dsn), DatabaseUnavailable) == "PostgreSQL: no answer in time"


async def test_an_unknown_host_is_unavailability() -> None:
    await line_of(query("postgresql://u@nowhere.invalid/d"), DatabaseUnavailable)


async def test_a_server_that_shuts_down_is_unavailability(own_postgres_server: PostgresServer) -> None:
    async with open_connection(settings(own_postgres_server.dsn), name="stays"):
        own_postgres_server.signal(signal.SIGTERM)

        async def refusal() -> str | None:
            try:
                await query(own_postgres_server.dsn)
            except DatabaseUnavailable as error:
                return str(error)
            return None

        assert await until(refusal) == "PostgreSQL: the database system is shutting down"


async def test_a_cut_connection_is_replaced(own_postgres_server: PostgresServer) -> None:
    dsn = own_postgres_server.dsn
    async with open_pool(settings(dsn), name="test", connections=1, call_s=10) as connections:
        async with transaction(connections) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await asyncio.to_thread(own_postgres_server.stop_immediately)
        with pytest.raises(DatabaseUnavailable, match="PostgreSQL: "):
            async with transaction(connections) as connection:
                await connection.fetchval("SELECT 1")
        await asyncio.to_thread(own_postgres_server.start)
        async with transaction(connections) as connection:
            assert await connection.fetchval("SELECT 2") == 2


async def test_a_refused_password_is_unavailability_because_it_may_be_replaced(
    own_postgres_server: PostgresServer,
) -> None:
    async with open_connection(settings(own_postgres_server.dsn), name="owner") as owner:
        await owner.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{_SECRET}'")
        _require_passwords(Path(await owner.fetchval("SHOW hba_file")))
        await owner.execute("SELECT pg_reload_conf()")
    dsn = own_postgres_server.dsn.replace("keda_jobs@", "guarded:{}@")
    line = await until(lambda: _refused(dsn.format("wrong")))
    assert line == (
        'PostgreSQL: password authentication failed for user "guarded"; '
        "check the password in PG_DSN, or PGPASSWORD where it has none"
    )
    assert await query(dsn.format(_SECRET)) == 1
    without = load_settings(PgSettings, pg_dsn=dsn.replace(":{}", ""), pgpassword=_SECRET)
    async with open_connection(without, name="test") as connection:
        assert await connection.fetchval("SELECT 1") == 1


def _require_passwords(access: Path) -> None:
    access.write_text(f"host all guarded all scram-sha-256\n{access.read_text()}")


async def _refused(dsn: str) -> str | None:
    try:
        await query(dsn)
    except DatabaseUnavailable as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (("keda_jobs", "nobody"), 'PG_DSN: role "nobody" does not exist'),
        (("nothing", "keda_jobs"), 'PG_DSN: database "nothing" does not exist'),
    ],
)
async def test_an_unknown_role_or_database_is_a_wrong_setting(
    postgres_server: PostgresServer, name: tuple[str, str], line: str
) -> None:
    assert await line_of(query(postgres_server.dsn_of(*name)), Misconfigured) == line


async def test_too_many_connections_are_unavailability(postgres_server: PostgresServer, database: str) -> None:
    async with open_connection(settings(postgres_server.dsn_of(database)), name="owner") as owner:
        await owner.execute(f"ALTER DATABASE {database} CONNECTION LIMIT 0; CREATE ROLE {database} LOGIN")
        line = await line_of(query(postgres_server.dsn_of(database, database)), DatabaseUnavailable)
        await owner.execute(f"DROP ROLE {database}")
    assert line == f'PostgreSQL: too many connections for database "{database}"'


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("SELECT pg_sleep(60)", "no answer in time"),
        ("SET LOCAL statement_timeout = 10; SELECT pg_sleep(60)", "canceling statement due to statement timeout"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", f"{_CUT}terminating connection due to administrator command"),
        (
            "SET LOCAL transaction_read_only = on; CREATE TABLE x ()",
            "cannot execute CREATE TABLE in a read-only transaction",
        ),
    ],
)
async def test_an_interrupted_statement_is_unavailability(
    postgres_server: PostgresServer, statement: str, line: str
) -> None:
    async def run() -> None:
        async with (
            open_pool(settings(postgres_server.dsn), name="test", connections=1, call_s=0.5) as connections,
            transaction(connections) as connection,
        ):
            await connection.execute(statement)

    assert await line_of(run(), DatabaseUnavailable) == f"PostgreSQL: {line}"


@pytest.mark.parametrize(
    ("statement", "line"),
    [
        ("SELECT FROM nothing", 'relation "nothing" does not exist; apply the job\'s schema first'),
        ("SELECT nothing()", "function nothing() does not exist; apply the job's schema first"),
        ("SELECT 1 FROM pg_class WHERE nothing = 1", 'column "nothing" does not exist; apply the job\'s schema first'),
        ("SELEKT", 'syntax error at or near "SELEKT"'),
    ],
)
async def test_an_unknown_name_is_a_missing_schema(postgres_server: PostgresServer, statement: str, line: str) -> None:
    assert await line_of(query(postgres_server.dsn, statement), Misconfigured) == line


_REFUSED = {
    "CREATE TEMP TABLE t (name text CONSTRAINT short CHECK (length(name) < 3)); INSERT INTO t VALUES ('s3cr3t')": (
        "CheckViolationError (23514), constraint short, table t"
    ),
    "CREATE TEMP TABLE t (name text, age int NOT NULL); INSERT INTO t VALUES ('s3cr3t', NULL)": (
        "NotNullViolationError (23502), table t, column age"
    ),
    "SELECT 's3cr3t'::int": "InvalidTextRepresentationError (22P02)",
    "DO $$ BEGIN RAISE 'no s3cr3t'; END $$": "RaiseError (P0001)",
    "DO $$ BEGIN RAISE 'no s3cr3t' USING ERRCODE = 'insufficient_privilege'; END $$": (
        "InsufficientPrivilegeError (42501)"
    ),
}


@pytest.mark.parametrize(("statement", "reason"), _REFUSED.items())
async def test_a_refused_statement_is_reported_without_values(
    postgres_server: PostgresServer, statement: str, reason: str
) -> None:
    async with open_pool(settings(postgres_server.dsn), name="test", connections=1, call_s=10) as connections:
        with pytest.raises(StatementRefused) as raised:
            async with transaction(connections) as connection:
                await connection.execute(statement)
    assert str(raised.value) == f"PostgreSQL refused a row: {reason}"
    assert _SECRET not in "".join(traceback.format_exception(raised.value)).replace(statement, "")
    assert _SECRET in raised.value.reason or "NOT NULL" in statement or "CHECK" in statement


@pytest.mark.parametrize(
    "value",
    [
        "date '20204-01-01'", "date '0044-03-15 BC'", "timestamptz '20204-01-01'", "time '24:00'",
        "interval '3000000 years'", "ARRAY[date '20204-01-01']", "daterange('20204-01-01', NULL)",
        "ROW(int4range(1, 2))",
    ],
)  # fmt: skip
async def test_a_value_that_cannot_be_decoded_is_refused_and_the_connection_stays(
    postgres_server: PostgresServer, value: str
) -> None:
    async with open_pool(settings(postgres_server.dsn), name="test", connections=1, call_s=10) as connections:

        async def read(query: str) -> object:
            async with transaction(connections) as connection:
                return await connection.fetchval(query)

        pid = await read("SELECT pg_backend_pid()")
        with pytest.raises(StatementRefused, match=r"PostgreSQL refused a row: \w+ of the driver") as raised:
            await read(f"SELECT {value}")
        assert "20204" not in "".join(traceback.format_exception(raised.value)).replace(f"SELECT {value}", "")
        assert await read("SELECT pg_backend_pid()") == pid


async def test_a_connection_to_a_server_that_became_read_only_is_made_again(
    postgres_server: PostgresServer, database: str
) -> None:
    # As after a failover: whoever is connected stays with the old server, and the address leads to the new one.
    role = f"{database}_writer"
    owner = await asyncpg.connect(postgres_server.dsn_of(database))
    await owner.execute(f"""
CREATE ROLE {role} LOGIN; CREATE TABLE written (number int); GRANT ALL ON written TO {role};
ALTER ROLE {role} SET default_transaction_read_only = on""")
    try:
        async with open_pool(
            settings(postgres_server.dsn_of(database, role)), name="test", connections=2, call_s=10
        ) as connections:
            async with transaction(connections), transaction(connections):
                pass  # both connections are open
            await owner.execute(f"ALTER ROLE {role} RESET ALL")
            with pytest.raises(DatabaseUnavailable, match="read-only transaction"):
                async with transaction(connections) as connection:
                    await connection.execute("INSERT INTO written VALUES (1)")
            async with transaction(connections) as first, transaction(connections) as second:
                await first.execute("INSERT INTO written VALUES (1)")
                await second.execute("INSERT INTO written VALUES (2)")
        assert await owner.fetchval("SELECT count(*) FROM written") == 2
    finally:
        await owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
        await owner.close()


async def test_the_pool_works_after_a_cancelled_statement(postgres_server: PostgresServer) -> None:
    async with open_pool(settings(postgres_server.dsn), name="test", connections=1, call_s=10) as connections:

        async def sleep() -> None:
            async with transaction(connections) as connection:
                await connection.execute("SELECT pg_sleep(60)")

        sleeping = asyncio.create_task(sleep())
        watching = await asyncpg.connect(postgres_server.dsn)
        await until(lambda: watching.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
        await watching.close()
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping
        async with transaction(connections) as connection:
            assert await connection.fetchval("SELECT 1") == 1
