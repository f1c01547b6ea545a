"""Databases with a queue: made once a session and emptied after each test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import schema
from stack import PostgresServer

from .rig import Rig
from .subjects import INVOICES, USERS, Subject

_numbers = itertools.count(1)


def migrations_of(subject: Subject, folder: Path) -> Path:
    """A folder with the migration that makes the table."""
    folder.mkdir(exist_ok=True)
    (folder / f"0001_{subject.table.name}.sql").write_text(subject.ddl, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Databases with an empty table and its queue, by the name of the table."""

    async def make(subject: Subject) -> str:
        name = f"claims_{subject.table.name}"
        await _run(postgres_server.dsn, f"CREATE DATABASE {name}")
        connection = await asyncpg.connect(postgres_server.dsn_of(name))
        folder = migrations_of(subject, tmp_path_factory.mktemp("migrations"))
        await schema.apply(connection, subject.table, folder)
        await connection.close()
        return name

    return {subject.table.name: asyncio.run(make(subject)) for subject in (USERS, INVOICES)}


async def _run(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(statement)
    await connection.close()


@asynccontextmanager
async def _shared(server: PostgresServer, database: str, subject: Subject) -> AsyncIterator[Rig]:
    rig = Rig(server, database, subject, await asyncpg.connect(server.dsn_of(database)))
    yield rig
    await rig.close()
    emptied = f"{subject.table.name}, {subject.table.queue}, batch_jobs"
    await _run(server.dsn_of(database), f"TRUNCATE {emptied} RESTART IDENTITY")


@pytest.fixture(params=[USERS, INVOICES], ids=["users", "invoices"])
async def rig(
    request: pytest.FixtureRequest, postgres_server: PostgresServer, databases: dict[str, str]
) -> AsyncIterator[Rig]:
    """The empty queue of each of the two tables."""
    async with _shared(postgres_server, databases[request.param.table.name], request.param) as rig:
        yield rig


@pytest.fixture
async def users(postgres_server: PostgresServer, databases: dict[str, str]) -> AsyncIterator[Rig]:
    """The empty queue of `users`."""
    async with _shared(postgres_server, databases["users"], USERS) as rig:
        yield rig


@pytest.fixture
async def invoices(postgres_server: PostgresServer, databases: dict[str, str]) -> AsyncIterator[Rig]:
    """The empty queue of `invoices`."""
    async with _shared(postgres_server, databases["invoices"], INVOICES) as rig:
        yield rig


@pytest.fixture
async def own_users(postgres_server: PostgresServer, databases: dict[str, str]) -> AsyncIterator[Rig]:
    """The empty queue of `users`, whose schema the test may change."""
    database = f"claims_{next(_numbers)}"
    await _run(postgres_server.dsn, f"CREATE DATABASE {database} TEMPLATE {databases['users']}")
    rig = Rig(postgres_server, database, USERS, await asyncpg.connect(postgres_server.dsn_of(database)))
    yield rig
    await rig.close()
    await _run(postgres_server.dsn, f"DROP DATABASE {database} WITH (FORCE)")
