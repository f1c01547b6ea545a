"""Seed tool as a person runs it, and the database that it fills."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from keda_jobs.claims import schema
from keda_jobs.settings import PgSettings
from stack import PostgresServer, shell_status, wait_until
from users_batch.job import JOB
from users_seed.data_set import DataSet
from users_seed.generate import generate

# Big enough to be cut by an interruption, small enough to be quick.
SMALL = DataSet(rows=6_000, chunk_rows=1_000, invalid_share=0.02)


T = TypeVar("T")
DiskUsage = namedtuple("DiskUsage", "total used free")  # noqa: PYI024 - as in shutil


@dataclass(frozen=True)
class Outcome:
    """Result of a run."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def last_line(self) -> str:
        return self.stderr.splitlines()[-1]


class Database:
    """Database of a test, as its owner sees it."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @property
    def settings(self) -> PgSettings:
        return PgSettings.model_validate({"pg_dsn": self.dsn})

    def do(self, work: Callable[[asyncpg.Connection[asyncpg.Record]], Coroutine[Any, Any, T]]) -> T:
        """Run `work` with a connection."""

        async def connected() -> T:
            connection = await asyncpg.connect(self.dsn)
            try:
                return await work(connection)
            finally:
                await connection.close()

        return asyncio.run(connected())

    def fetch(self, sql: str, *arguments: object) -> list[tuple[Any, ...]]:
        return list(map(tuple, self.do(lambda connection: connection.fetch(sql, *arguments))))

    def value(self, sql: str, *arguments: object) -> Any:
        return self.do(lambda connection: connection.fetchval(sql, *arguments))

    def run(self, script: str) -> None:
        """Run a script of statements."""
        self.do(lambda connection: connection.execute(script))

    def work(self) -> int:
        """Run a worker to its end and return its exit code."""
        command = [sys.executable, "-m", "users_batch"]
        environment = os.environ | {"PG_DSN": self.dsn, "HTTP_PORT": "0"}
        return subprocess.run(command, env=environment, check=False).returncode

    @property
    def claimable(self) -> int:
        rows: int = self.value("SELECT rows FROM keda_jobs.users_claimable")
        return rows

    @property
    def is_in_use(self) -> bool:
        """True when `users` has the key, trigger and autovacuum that workers and applications need."""
        [(has_key, trigger, options)] = self.fetch(
            "SELECT EXISTS (SELECT FROM pg_constraint WHERE conrelid = oid_ AND contype = 'p'),"
            " (SELECT tgenabled FROM pg_trigger WHERE tgrelid = oid_ AND tgname = 'users_enqueue_inserted'),"
            " (SELECT reloptions FROM pg_class WHERE oid = oid_) FROM (SELECT 'users'::regclass AS oid_) AS users"
        )
        return has_key and trigger == b"A" and not [option for option in options if "autovacuum_enabled" in option]


@contextmanager
def hold_locks(database: Database, statement: str) -> Iterator[None]:
    """Hold the locks of `statement` during the block."""
    locked, release = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(database.dsn)
        await connection.transaction().start()
        await connection.execute(statement)
        locked.set()
        await asyncio.to_thread(release.wait)
        # Not `close`: the server may be gone.
        connection.terminate()

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(asyncio.run, hold())
        try:
            wait_until(lambda: locked.is_set() or holding.done())
            yield
        finally:
            release.set()
            holding.result()


class Tool:
    """Seed tool: `tool("generate", "--rows", "10")` runs it to its end, `tool.start(…)` only starts it."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment = os.environ | {"NO_COLOR": "1", "COLUMNS": "140"} | environment
        self.folder = folder
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *arguments: str, **environment: str) -> Outcome:
        return self.finish(self.start(*arguments, **environment))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("users-batch-seed")), *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def finish(self, process: subprocess.Popen[str]) -> Outcome:
        stdout, stderr = process.communicate()
        return Outcome(shell_status(process.returncode), stdout, stderr)


def limit_disk(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Let every disk have `free` bytes left."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10**12, 10**12 - free, free))


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send the signal to every process of the tool, as a terminal sends Ctrl-C."""
    os.killpg(process.pid, number)


def wait_for_lock(database: Database, statement: str) -> None:
    """Wait until the tool waits for a lock in a statement that contains `statement`."""
    wait_until(
        lambda: database.fetch(
            "SELECT FROM pg_stat_activity WHERE application_name = 'users-batch-seed' AND datname = current_database()"
            " AND wait_event_type = 'Lock' AND query LIKE '%' || $1 || '%'",
            statement,
        )
    )


@pytest.fixture
def seed_database(postgres_server: PostgresServer, database: str) -> Database:
    """Return an empty database."""
    return Database(postgres_server.dsn_of(database))


@pytest.fixture
def tool(seed_database: Database, tmp_path: Path) -> Iterator[Tool]:
    """Return the tool with that database and an empty folder."""
    running = Tool({"PG_DSN": seed_database.dsn}, tmp_path)
    yield running
    for process in running.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def users(seed_database: Database) -> Database:
    """Return the database with the table users and its queue, both empty."""
    migrations = resources.files("users_batch") / "migrations"
    seed_database.do(lambda connection: schema.apply(connection, JOB.table, migrations))
    return seed_database


@pytest.fixture(scope="session")
def small_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generate the data set `SMALL` once."""
    folder = tmp_path_factory.mktemp("small")
    generate(SMALL, folder, processes=1)
    return folder


@pytest.fixture
def small(small_once: Path, tmp_path: Path) -> Path:
    """Copy the data set `SMALL` for this test."""
    return shutil.copytree(small_once, tmp_path / "small")
