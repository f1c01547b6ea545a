"""Databases with a queue, created once a session and emptied after each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import schema, statements
from keda_jobs.claims.migration_files import Migration, queue_migrations, tracking_migrations
from stack import PostgresServer

from .example_tables import INVOICES, USERS, ExampleTable
from .harness import QueueHarness

_numbers = itertools.count(1)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers wait for locks without limit."""
    for settings in (statements.CLAIM, statements.SETTLE):
        monkeypatch.setitem(settings, "lock_timeout", "0")


def write_migrations(example: ExampleTable, folder: Path) -> Path:
    """Write the migration that creates the table, and return its folder."""
    folder.mkdir(exist_ok=True)
    (folder / f"0001_{example.table.name}.sql").write_text(example.ddl, encoding="utf-8")
    return folder


def new_queue_migrations(example: ExampleTable) -> list[str]:
    """List the names of the migrations that make a new queue of the table."""
    return _names(migration for migration in queue_migrations(example.table) if not migration.is_upgrade)


def tracking_names() -> list[str]:
    """List the names of the migrations of a new database, which all its queues share."""
    return _names(migration for migration in tracking_migrations(USERS.table) if not migration.is_upgrade)


def _names(migrations: Iterable[Migration]) -> list[str]:
    return [f"{migration.scope}/{migration.name}" for migration in migrations]


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Create databases with an empty table and its queue, and return their names by table."""

    async def make(example: ExampleTable) -> str:
        name = f"claims_{example.table.name}"
        await _run(postgres_server.dsn, f"CREATE DATABASE {name}")
        connection = await asyncpg.connect(postgres_server.dsn_of(name))
        folder = write_migrations(example, tmp_path_factory.mktemp("migrations"))
        await schema.apply(connection, example.table, folder)
        await connection.execute(_emptied(example))
        await connection.close()
        return name

    return {example.table.name: asyncio.run(make(example)) for example in (USERS, INVOICES)}


def _emptied(example: ExampleTable) -> str:
    """Write the statement that empties all tables. The apply of a schema has left a check."""
    of_queue = ", ".join(f"{example.table.queue}{name}" for name in ("", "_checks", "_holds"))
    return f"TRUNCATE {example.table.name}, {of_queue}, keda_jobs.batch_jobs, keda_jobs.old_batches RESTART IDENTITY"


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def _shared(server: PostgresServer, database: str, example: ExampleTable) -> AsyncIterator[QueueHarness]:
    queue = QueueHarness(server, database, example, await asyncpg.connect(server.dsn_of(database)))
    yield queue
    await queue.close()
    await _run(server.dsn_of(database), _emptied(example))


@pytest.fixture(params=[USERS, INVOICES], ids=["users", "invoices"])
async def queue(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, databases: dict[str, str]
) -> AsyncIterator[QueueHarness]:
    """Yield the empty queue of each of the two tables."""
    async with _shared(postgres_server, databases[request.param.table.name], request.param) as queue:
        yield queue


@pytest.fixture
async def users(postgres_server: PostgresServer, databases: dict[str, str]) -> AsyncIterator[QueueHarness]:
    """Yield the empty queue of `users`."""
    async with _shared(postgres_server, databases["users"], USERS) as queue:
        yield queue


@pytest.fixture
async def invoices(postgres_server: PostgresServer, databases: dict[str, str]) -> AsyncIterator[QueueHarness]:
    """Yield the empty queue of `invoices`."""
    async with _shared(postgres_server, databases["invoices"], INVOICES) as queue:
        yield queue


@pytest.fixture
async def own_users(postgres_server: PostgresServer, databases: dict[str, str]) -> AsyncIterator[QueueHarness]:
    """Yield the empty queue of `users` in a database whose schema the test may change."""
    database = f"claims_{next(_numbers)}"
    await _run(postgres_server.dsn, f"CREATE DATABASE {database} TEMPLATE {databases['users']} STRATEGY FILE_COPY")
    queue = QueueHarness(postgres_server, database, USERS, await asyncpg.connect(postgres_server.dsn_of(database)))
    yield queue
    await queue.close()
    await _run(postgres_server.dsn, f"DROP DATABASE {database} WITH (FORCE)")
