"""Creating a claim queue, changing it later, and adding one to an existing table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import schema
from keda_jobs.errors import Misconfigured
from stack import PostgresServer

from .conftest import new_queue_migrations, tracking_names, write_migrations
from .example_tables import INVOICES, USERS
from .harness import Owner, QueueHarness, batch_keys, until_not_given_up

_ALL = [*tracking_names(), "users-batch/0001_users.sql", *new_queue_migrations(USERS)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write the migrations of the job on `users`."""
    return write_migrations(USERS, tmp_path / "migrations")


@pytest.fixture
async def owner(postgres_server: PostgresServer, database: str) -> AsyncIterator[Owner]:
    """Connect to an empty database as its owner."""
    connection = await asyncpg.connect(postgres_server.dsn_of(database))
    yield connection
    await connection.close()


@pytest.fixture
async def other_owner(postgres_server: PostgresServer, database: str) -> AsyncIterator[Owner]:
    """Connect to the same database a second time."""
    connection = await asyncpg.connect(postgres_server.dsn_of(database))
    yield connection
    await connection.close()


async def test_all_migrations_are_applied_once(owner: Owner, folder: Path) -> None:
    assert await schema.apply(owner, USERS.table, folder) == _ALL
    assert await schema.apply(owner, USERS.table, folder) == []
    assert await owner.fetchval("SELECT count(*) FROM keda_jobs.batch_migrations") == len(_ALL)


async def test_a_function_of_somebody_else_in_the_schema_keeps_its_rights(owner: Owner, folder: Path) -> None:
    await schema.apply(owner, USERS.table, folder)
    await owner.execute("CREATE FUNCTION keda_jobs.theirs() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    assert await schema.apply(owner, USERS.table, folder) == []
    public = "has_function_privilege('users_scaler', {}, 'EXECUTE')"
    ours = "SELECT bool_or(" + public.format("oid") + ") FROM pg_proc WHERE proowner = 'keda_jobs_owner'::regrole"
    assert await owner.fetchval("SELECT " + public.format("'keda_jobs.theirs()'"))
    assert not await owner.fetchval(ours)


async def test_concurrent_applies_apply_once(owner: Owner, other_owner: Owner, folder: Path) -> None:
    applied = await asyncio.gather(
        schema.apply(owner, USERS.table, folder), schema.apply(other_owner, USERS.table, folder)
    )
    assert sorted(applied) == [[], _ALL]


async def test_a_second_queue_joins_the_first(owner: Owner, folder: Path, tmp_path: Path) -> None:
    await schema.apply(owner, USERS.table, folder)
    more = write_migrations(INVOICES, tmp_path / "more")
    assert await schema.apply(owner, INVOICES.table, more) == [
        "invoice-reminders/0001_invoices.sql",
        *new_queue_migrations(INVOICES),
    ]
    await owner.execute(INVOICES.insert, [1, 2])
    assert await owner.fetchval("SELECT rows FROM keda_jobs.invoices_claimable") == 2
    assert await owner.fetchval("SELECT rows FROM keda_jobs.users_claimable") == 0


async def test_a_new_migration_is_applied_once(owner: Owner, folder: Path) -> None:
    await schema.apply(owner, USERS.table, folder)
    (folder / "0002_phone.sql").write_text("ALTER TABLE users ADD COLUMN phone text")
    (folder / "README.md").write_text("not a migration")
    assert await schema.apply(owner, USERS.table, folder) == ["users-batch/0002_phone.sql"]
    assert await schema.apply(owner, USERS.table, folder) == []


async def test_a_migration_that_was_changed_after_it_was_applied_is_refused(owner: Owner, folder: Path) -> None:
    await schema.apply(owner, USERS.table, folder)
    (folder / "0001_users.sql").write_text(USERS.ddl + " -- changed")
    with pytest.raises(Misconfigured) as refused:
        await schema.apply(owner, USERS.table, folder)
    assert str(refused.value) == (
        "users-batch/0001_users.sql differs from what was applied as number 1; restore it and write the change as a new"
        " migration with the next number"
    )


@pytest.mark.parametrize(
    ("name", "sql", "reason"),
    [
        ("0002_bad.sql", "ALTER TABEL users", r'users-batch/0002_bad\.sql: syntax error at or near "TABEL"'),
        ("0002_bad.sql", "SELECT 1 / 0", r"users-batch/0002_bad\.sql: division by zero"),
        ("0002_bad.sql", "DO $$ BEGIN RAISE 'not so'; END $$", r"users-batch/0002_bad\.sql: not so"),
        (
            "0002_bad.sql",
            "ALTER TABLE others ADD b text",
            r"0002_bad\.sql: must be owner of table others; make keda_jobs_owner",
        ),
        ("more.sql", "SELECT 1", r"users-batch/more\.sql: a migration is named by a number, _ and words"),
    ],
)
async def test_a_failing_migration_is_reported_in_one_line_and_nothing_is_applied(
    owner: Owner, folder: Path, name: str, sql: str, reason: str
) -> None:
    await owner.execute("CREATE TABLE others (a text)")
    (folder / name).write_text(sql)
    with pytest.raises(Misconfigured, match=reason) as refused:
        await schema.apply(owner, USERS.table, folder)
    assert "\n" not in str(refused.value)
    assert await owner.fetchval("SELECT to_regclass('users') IS NULL AND to_regclass('keda_jobs.batch_jobs') IS NULL")
    assert await owner.fetchval("SELECT current_user = session_user")


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE users (id uuid PRIMARY KEY)",
        "CREATE TABLE users (id bigint NOT NULL)",
        "CREATE TABLE users (id bigint UNIQUE)",
        "CREATE TABLE users (id bigint NOT NULL, part integer, UNIQUE (id, part))",
    ],
)
async def test_a_table_without_a_unique_integer_key_is_refused(owner: Owner, folder: Path, ddl: str) -> None:
    (folder / "0001_users.sql").write_text(ddl)
    with pytest.raises(Misconfigured, match="users needs id as an integer primary key, or a unique index on it"):
        await schema.apply(owner, USERS.table, folder)


async def test_a_queue_is_put_on_a_table_that_has_rows(owner: Owner, tmp_path: Path) -> None:
    await owner.execute(f"""
CREATE ROLE shop NOLOGIN; CREATE SCHEMA AUTHORIZATION shop; GRANT CREATE ON SCHEMA public TO shop;
SET ROLE shop; SET search_path = public; {INVOICES.ddl}; RESET ROLE; RESET search_path""")
    await owner.execute(INVOICES.insert, list(range(1, 25_002)))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Misconfigured, match="must be owner of table invoices; make keda_jobs_owner its owner, or"):
        await schema.apply(owner, INVOICES.table, empty)
    await owner.execute("GRANT shop TO keda_jobs_owner")
    try:
        await schema.apply(owner, INVOICES.table, empty)
        assert await owner.fetchval("SELECT rows FROM keda_jobs.invoices_claimable") == 25_001
        assert [row[0] for row in await owner.fetch("SELECT claimable FROM keda_jobs.invoices_queue ORDER BY lo")] == [
            20_000,
            5001,
        ]
        await owner.execute("SET ROLE shop; INSERT INTO invoices VALUES (30000, 'late', 1); RESET ROLE")
        assert await owner.fetchval("SELECT rows FROM keda_jobs.invoices_claimable") == 25_002
    finally:
        await owner.execute("DROP OWNED BY keda_jobs_owner CASCADE; DROP OWNED BY shop CASCADE; DROP ROLE shop")


async def test_the_queue_can_be_in_a_schema_of_another_name(owner: Owner, folder: Path) -> None:
    await owner.execute('CREATE SCHEMA "Batch Work"; SET search_path = "Batch Work"')
    await schema.apply(owner, USERS.table, folder)
    await owner.execute(USERS.insert, [1, 2, 3])
    await owner.execute("RESET search_path")
    assert await owner.fetchval("SELECT rows FROM keda_jobs.users_claimable") == 3
    assert await owner.fetchval("SELECT to_regclass('users') IS NULL")


async def test_a_schema_of_the_library_that_is_not_its_owners_is_refused(owner: Owner, folder: Path) -> None:
    await owner.execute("CREATE SCHEMA keda_jobs")
    with pytest.raises(Misconfigured, match=r"roles besides keda_jobs_owner may create objects in .* keda_jobs; ALTER"):
        await schema.apply(owner, USERS.table, folder)
    await owner.execute("ALTER SCHEMA keda_jobs OWNER TO keda_jobs_owner; GRANT CREATE ON SCHEMA keda_jobs TO PUBLIC")
    with pytest.raises(Misconfigured, match=r"roles besides keda_jobs_owner .* which the queues trust: PUBLIC; ALTER"):
        await schema.apply(owner, USERS.table, folder)
    await owner.execute("REVOKE CREATE ON SCHEMA keda_jobs FROM PUBLIC")
    assert await schema.apply(owner, USERS.table, folder) == _ALL


async def test_a_search_path_without_a_schema_is_reported(owner: Owner, folder: Path) -> None:
    await owner.execute("SET search_path = nowhere")
    with pytest.raises(Misconfigured, match="no schema of the search_path exists"):
        await schema.apply(owner, USERS.table, folder)


async def test_a_written_column_may_have_a_reserved_word_as_its_name(invoices: QueueHarness) -> None:
    await invoices.insert([1])
    assert "end" in invoices.table.writes
    assert await invoices.drain(await invoices.worker()) == 1


async def test_claims_continue_while_the_schema_changes(own_users: QueueHarness, tmp_path: Path) -> None:
    await own_users.insert(range(1, 301))
    worker = await own_users.worker()
    folder = write_migrations(USERS, tmp_path / "migrations")

    async def change() -> None:
        for number in range(2, 12):
            (folder / f"{number:04}_more.sql").write_text(f"ALTER TABLE users ADD COLUMN more_{number} text")
            await schema.apply(own_users.owner, USERS.table, folder)

    changing = asyncio.create_task(change())
    claimed: list[int] = []
    # A change may hold its lock for longer than a claim waits for one.
    while len(claimed) < 300:
        if (batch := await until_not_given_up(lambda: worker.claim(10))) is not None:
            claimed += batch_keys(batch)
            await until_not_given_up(partial(own_users.settle_all, worker, batch))
    await changing
    assert claimed == list(range(1, 301))
