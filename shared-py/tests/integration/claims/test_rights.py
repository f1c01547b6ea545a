"""Rights and logins of a queue's roles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from asyncpg import exceptions as pg

from keda_jobs.claims import roles, schema
from keda_jobs.errors import Misconfigured
from stack import PostgresServer
from stack.postgres import DATABASE

from .conftest import new_queue_migrations, tracking_names, write_migrations
from .example_tables import USERS
from .harness import QueueHarness

_SECRET = "p4ss'w\"ord \\ $1"


@pytest.mark.parametrize(
    "forbidden",
    [
        "DELETE FROM users",
        "INSERT INTO users (name) VALUES ('x')",
        "UPDATE users SET name = 'x'",
        "TRUNCATE users",
        "SELECT * FROM others",
        "SELECT * FROM keda_jobs.batch_migrations",
        "DELETE FROM keda_jobs.batch_queues",
        "DELETE FROM keda_jobs.users_queue_checks",
        "INSERT INTO keda_jobs.users_queue_holds VALUES (true, 'infinity', '')",
        "DELETE FROM keda_jobs.users_queue_holds",
        "CREATE TABLE mine (a text)",
        "ALTER TABLE users ADD COLUMN a text",
        "DROP TABLE keda_jobs.users_queue",
        "SET ROLE keda_jobs_owner",
    ],
)
async def test_a_worker_may_not(own_users: QueueHarness, forbidden: str) -> None:
    await own_users.owner.execute("CREATE TABLE public.others (a text)")
    worker = await own_users.connect("users_worker")
    with pytest.raises(pg.InsufficientPrivilegeError):
        await worker.execute(forbidden)


@pytest.mark.parametrize(
    "forbidden",
    [
        "SELECT * FROM users",
        "SELECT * FROM keda_jobs.users_queue",
        "SELECT * FROM batch_jobs",
        "SELECT * FROM keda_jobs.users_queue_checks",
        "SELECT keda_jobs.users_queue_hold(60, '')",
    ],
)
async def test_the_scaler_may_not(users: QueueHarness, forbidden: str) -> None:
    with pytest.raises(pg.InsufficientPrivilegeError):
        await (await users.scaler()).execute(forbidden)


@pytest.mark.parametrize(
    "forbidden",
    [
        "SELECT * FROM users",
        "SELECT * FROM keda_jobs.batch_migrations",
        "DELETE FROM keda_jobs.batch_jobs",
        "UPDATE keda_jobs.batch_jobs SET error = 'x'",
        "DELETE FROM keda_jobs.users_queue",
        "INSERT INTO keda_jobs.users_queue_checks (stranded_rows) VALUES (0)",
        "SELECT keda_jobs.users_queue_hold(60, '')",
        "CREATE TABLE mine (a text)",
        "SET ROLE keda_jobs_owner",
    ],
)
async def test_the_exporter_may_not(users: QueueHarness, forbidden: str) -> None:
    exporter = await users.connect(roles.EXPORTER)
    await exporter.execute("SET default_transaction_read_only = off")
    with pytest.raises(pg.InsufficientPrivilegeError):
        await exporter.execute(forbidden)


async def test_the_exporter_reads_queue_records_within_limits(users: QueueHarness) -> None:
    await users.insert([1, 2])
    exporter = await users.connect(roles.EXPORTER)
    for source in (
        "keda_jobs.batch_queues",
        "keda_jobs.users_batches",
        "batch_jobs",
        "keda_jobs.users_queue",
        "keda_jobs.users_queue_checks",
        "keda_jobs.users_queue_on_hold",
        "keda_jobs.users_claimable",
        "keda_jobs.users_failed_permanently()",
    ):
        await exporter.fetch(f"SELECT * FROM {source}")
    settings = ("statement_timeout", "lock_timeout", "default_transaction_read_only")
    assert [await exporter.fetchval(f"SHOW {name}") for name in settings] == ["5s", "1s", "on"]
    limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user"
    assert await exporter.fetchval(limit) == 3


@pytest.mark.parametrize(
    "forbidden",
    [
        "SELECT name FROM users",
        "UPDATE users SET batch_status = 'pending'",
        "DELETE FROM users",
        "SELECT * FROM keda_jobs.batch_migrations",
        "UPDATE keda_jobs.users_queue SET error = NULL",
        "INSERT INTO keda_jobs.users_queue_checks (stranded_rows) VALUES (0)",
        "UPDATE keda_jobs.batch_jobs SET error = 'x'",
        "SELECT keda_jobs.users_queue_hold(60, '')",
        "SELECT keda_jobs.users_queue_recount(ARRAY[1])",
        "SELECT keda_jobs.users_sum_up_old_batches()",
        "CREATE TABLE mine (a text)",
        "SET ROLE keda_jobs_owner",
        "SET ROLE users_worker",
    ],
)
async def test_the_operator_may_not(users: QueueHarness, forbidden: str) -> None:
    operator = await users.connect(roles.OPERATOR)
    await operator.execute("SET default_transaction_read_only = off")
    with pytest.raises(pg.InsufficientPrivilegeError):
        await operator.execute(forbidden)


async def test_the_operator_reads_what_the_queue_writes_and_no_value_of_a_row(users: QueueHarness) -> None:
    await users.insert([1, 2])
    operator = await users.connect(roles.OPERATOR)
    readable = "SELECT attname FROM pg_attribute WHERE attrelid = 'users'::regclass AND attnum > 0"
    readable += " AND has_column_privilege(attrelid, attnum, 'SELECT') ORDER BY attnum"
    columns = [row[0] for row in await operator.fetch(readable)]
    assert columns == ["id", "batch_status", "attempts", "next_attempt_at", "error", "batch_id"]
    assert await operator.fetchval("SHOW default_transaction_read_only") == "on"


async def test_the_scaler_reads_its_number_within_limits(users: QueueHarness) -> None:
    await users.insert([1, 2])
    scaler = await users.scaler()
    assert await scaler.fetchval("SELECT rows FROM keda_jobs.users_claimable") == 2
    shown = [
        await scaler.fetchval(f"SHOW {name}") for name in ("statement_timeout", "lock_timeout", "transaction_read_only")
    ]
    assert shown == ["5s", "1s", "on"]
    await users.scaler()
    await users.scaler()
    with pytest.raises(pg.TooManyConnectionsError):
        await users.scaler()


async def test_a_worker_idle_in_a_transaction_is_disconnected(users: QueueHarness) -> None:
    worker = await users.connect("users_worker")
    assert await worker.fetchval("SHOW idle_in_transaction_session_timeout") == "1min"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the migrations of the job on `users`."""
    return write_migrations(USERS, tmp_path / "migrations")


@pytest.fixture
async def connections() -> AsyncIterator[AsyncExitStack]:
    """Yield a stack of connections that are closed after the test."""
    async with AsyncExitStack() as stack:
        yield stack


async def connect(
    connections: AsyncExitStack, server: PostgresServer, role: str, password: str = ""
) -> asyncpg.Connection[asyncpg.Record]:
    connection = await asyncpg.connect(server.dsn_of(DATABASE, role), password=password or None, ssl=False)
    connections.callback(connection.terminate)
    return connection


def require_passwords(access: Path) -> None:
    access.write_text(f"host all users_worker,users_scaler all scram-sha-256\n{access.read_text()}")


async def test_a_database_owner_with_createrole_needs_no_superuser_rights(
    own_postgres_server: PostgresServer, connections: AsyncExitStack, folder: Path
) -> None:
    superuser = await connect(connections, own_postgres_server, "keda_jobs")
    await superuser.execute(f"CREATE ROLE boss LOGIN CREATEROLE; ALTER DATABASE {DATABASE} OWNER TO boss")
    boss = await connect(connections, own_postgres_server, "boss")
    applied = await schema.apply(boss, USERS.table, folder, {"users_worker": "secret"})
    assert applied == [*tracking_names(), "users-batch/0001_users.sql", *new_queue_migrations(USERS)]
    (folder / "0002_phone.sql").write_text("ALTER TABLE users ADD COLUMN phone text")
    again = await connect(connections, own_postgres_server, "boss")
    assert await schema.apply(again, USERS.table, folder, {"users_worker": "other"}) == ["users-batch/0002_phone.sql"]
    await boss.execute("INSERT INTO users (name) VALUES ('Ada')")
    worker = await connect(connections, own_postgres_server, "users_worker")
    assert await worker.fetchval("SELECT rows FROM keda_jobs.users_claimable") == 1


async def test_a_missing_right_to_create_roles_is_reported_in_one_line(
    own_postgres_server: PostgresServer, connections: AsyncExitStack, folder: Path
) -> None:
    superuser = await connect(connections, own_postgres_server, "keda_jobs")
    await superuser.execute(f"CREATE ROLE clerk LOGIN; ALTER DATABASE {DATABASE} OWNER TO clerk")
    clerk = await connect(connections, own_postgres_server, "clerk")
    with pytest.raises(
        Misconfigured, match="roles keda_jobs_owner, keda_jobs_exporter, keda_jobs_operator, users_worker and"
    ) as told:
        await schema.apply(clerk, USERS.table, folder)
    assert "\n" not in str(told.value)


async def test_a_password_works_by_scram_and_is_never_in_the_servers_log(
    own_postgres_server: PostgresServer, connections: AsyncExitStack, folder: Path
) -> None:
    owner = await connect(connections, own_postgres_server, "keda_jobs")
    await owner.execute("ALTER SYSTEM SET log_statement = 'all'")
    require_passwords(Path(await owner.fetchval("SHOW hba_file")))
    await owner.execute("SELECT pg_reload_conf()")
    await schema.apply(owner, USERS.table, folder, {"users_worker": _SECRET, "users_scaler": "other"})

    worker = await connect(connections, own_postgres_server, "users_worker", _SECRET)
    assert await worker.fetchval("SELECT current_user") == "users_worker"
    with pytest.raises(pg.InvalidPasswordError):
        await connect(connections, own_postgres_server, "users_worker", "other")
    log = own_postgres_server.log.read_text()
    assert "ALTER ROLE users_worker PASSWORD" in log
    assert _SECRET not in log
    assert _SECRET.partition("'")[0] not in log


async def test_a_role_that_another_database_uses_keeps_its_password(
    own_postgres_server: PostgresServer, connections: AsyncExitStack, folder: Path
) -> None:
    owner = await connect(connections, own_postgres_server, "keda_jobs")
    await schema.apply(owner, USERS.table, folder, {"users_worker": "first"})
    await owner.execute("CREATE DATABASE staging")
    staging = await asyncpg.connect(own_postgres_server.dsn_of("staging"), ssl=False)
    connections.callback(staging.terminate)
    password = "SELECT rolpassword FROM pg_authid WHERE rolname = 'users_worker'"
    before = await owner.fetchval(password)
    with pytest.raises(Misconfigured, match=f"the roles users_worker have rights in the database {DATABASE} of this"):
        await schema.apply(staging, USERS.table, folder, {"users_worker": "second"})
    assert await owner.fetchval(password) == before
    assert await staging.fetchval("SELECT to_regclass('users')") is None

    # A copy brings the rights with it, and refuses the original a new password until it is gone.
    await owner.execute("DROP DATABASE staging WITH (FORCE)")
    await schema.apply(owner, USERS.table, folder, {"users_worker": "third"})
    assert await owner.fetchval(password) != before


@pytest.mark.parametrize("password", ["", "pässword", "two\nlines", "nul\0"])
async def test_a_password_that_is_not_printable_ascii_is_refused(
    users: QueueHarness, folder: Path, password: str
) -> None:
    with pytest.raises(Misconfigured, match="the password of users_worker must be one or more printable ASCII"):
        await schema.apply(users.owner, USERS.table, folder, {"users_worker": password})


async def test_applying_again_restores_revoked_rights(own_users: QueueHarness, folder: Path) -> None:
    await own_users.insert([1])
    revoked = "users, keda_jobs.users_queue, keda_jobs.users_batches, keda_jobs.users_claimable"
    await own_users.owner.execute(f"REVOKE ALL ON {revoked} FROM users_worker")
    worker = await own_users.worker()
    with pytest.raises(Misconfigured, match=r"permission denied for .*; use the role that the schema creates for this"):
        await worker.claim(1)
    await schema.apply(own_users.owner, USERS.table, folder)
    assert await own_users.drain(worker) == 1
