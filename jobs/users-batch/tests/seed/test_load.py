"""The import: every row once and claimable, wherever it was interrupted and by whatever."""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.errors import JobError, Misconfigured
from users_batch.seed.data_set import DataSet
from users_batch.seed.disk import room_in_database
from users_batch.seed.generate import generate
from users_batch.seed.load import Loaded, load

from .conftest import SMALL, Database, Tool, interrupt, waits_for_a_lock

DiskUsage = namedtuple("DiskUsage", "total used free")  # noqa: PYI024 - as in shutil

# A row in the middle of the third chunk that waits for whoever holds the lock, and its transaction with it.
HOLD_A_CHUNK = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.id = 2500) EXECUTE FUNCTION wait()"""


@contextmanager
def held(database: Database, statement: str) -> Iterator[None]:
    """What `statement` locks stays locked during the block."""
    locked, release = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(database.dsn)
        async with connection.transaction():
            await connection.execute(statement)
            locked.set()
            await asyncio.to_thread(release.wait)
        await connection.close()

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(asyncio.run, hold())
        try:
            assert locked.wait(20)
            yield
        finally:
            release.set()
            holding.result()


@pytest.fixture
def users(tool: Tool, seed_database: Database) -> Database:
    """The database with its schema, without rows."""
    assert tool("schema").code == 0
    return seed_database


def run(database: Database, folder: Path) -> Loaded:
    return asyncio.run(load(database.settings, folder))


def check_that_all_is_loaded(database: Database, data_set: DataSet) -> None:
    rows = data_set.rows
    ids = "SELECT count(*), count(DISTINCT id), min(id), max(id) FROM users"
    assert database.fetch(ids) == [(rows, rows, 1, rows)]
    assert database.claimable == rows
    assert database.value("SELECT sum(claimable) FROM users_queue") == rows
    assert database.is_in_use
    # What an application inserts afterwards has the next id, and waits for a worker.
    assert database.value("INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com') RETURNING id") == rows + 1
    assert database.claimable == rows + 1


def test_an_import_leaves_every_row_claimable_and_the_table_in_use(users: Database, small: Path) -> None:
    loaded = run(users, small)
    assert (loaded.rows, loaded.invalid, loaded.before, loaded.claimable) == (6_000, 120, 0, 6_000)
    check_that_all_is_loaded(users, SMALL)
    assert users.value("SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass") == 6_000


def test_an_import_loads_the_text_as_it_stands_in_the_files(users: Database, small: Path, tmp_path: Path) -> None:
    run(users, small)
    text = b"".join(path.read_bytes().partition(b"\n")[2] for path in sorted(small.glob("*.csv")))
    copied = tmp_path / "copied.csv"

    async def copy() -> None:
        connection = await asyncpg.connect(users.dsn)
        await connection.copy_from_query("SELECT id, name, email FROM users ORDER BY id", output=copied, format="csv")
        await connection.close()

    asyncio.run(copy())
    assert copied.read_bytes() == text


def test_a_second_import_finds_all_of_it_there(users: Database, small: Path) -> None:
    run(users, small)
    assert run(users, small).before == 6_000
    check_that_all_is_loaded(users, SMALL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_import_that_is_stopped_within_a_chunk_is_taken_up(
    users: Database, small: Path, tool: Tool, number: signal.Signals
) -> None:
    users.fetch("SELECT 1")
    asyncio.run(execute(users, HOLD_A_CHUNK))
    with held(users, "SELECT pg_advisory_xact_lock(77)"):
        importing = tool.start("import", "--out", str(small))
        waits_for_a_lock(users, "COPY")
        assert users.claimable == 0
        interrupt(importing, number)
        ended = tool.finish(importing)
    assert users.value("SELECT count(*) FROM users WHERE id BETWEEN 2001 AND 3000") == 0
    if number == signal.SIGINT:
        assert (ended.code, ended.last_line) == (
            130,
            "users-batch-seed: interrupted; the same command goes on where it was",
        )
        assert "Traceback" not in ended.stderr

    resumed = run(users, small)
    assert 0 < resumed.before < 6_000
    check_that_all_is_loaded(users, SMALL)


# What the import waits for while the table is read: before its first change, and before the last step's key.
@pytest.mark.parametrize("statement", ["LOCK TABLE users", "ADD CONSTRAINT users_pkey"])
def test_an_import_that_is_killed_between_its_steps_is_taken_up(
    users: Database, small: Path, tool: Tool, statement: str
) -> None:
    is_last = statement.startswith("ADD")
    if is_last:
        asyncio.run(execute(users, HOLD_A_CHUNK))
    with held(users, "SELECT pg_advisory_xact_lock(77)") if is_last else held(users, "SELECT FROM users"):
        importing = tool.start("import", "--out", str(small))
        waits_for_a_lock(users, "COPY" if is_last else statement)
        if not is_last:
            interrupt(importing, signal.SIGKILL)
            tool.finish(importing)
            assert users.is_in_use
    if is_last:
        pass
    run(users, small)
    check_that_all_is_loaded(users, SMALL)


async def execute(database: Database, script: str) -> None:
    connection = await asyncpg.connect(database.dsn)
    await connection.execute(script)
    await connection.close()
