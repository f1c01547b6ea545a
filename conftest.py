"""Servers and jobs for every test: each has its own, fresh and killable, because one starts in under 0.1 s.

PostgreSQL needs half a second and 40 MB, so most tests share one server and have a database of their own.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Generator, Iterator
from pathlib import Path

import asyncpg
import pytest
from botocore.loaders import JSONFileLoader, Loader
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from stack import JobProcess, NatsServer, PostgresServer, S3Server
from stack.streams import apply_streams

# Both go by the wall clock, and the machine is busy with servers.
settings.register_profile("keda-jobs", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("keda-jobs")

# A shell ignores SIGINT in what it runs in the background, and programs under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests wait for servers most of the time, so a core serves several of them.
_WORKERS_PER_CORE = 3

# Servers of tests write many files that live for seconds. On a disk that takes a sixth of the whole run's CPU.
_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a folder that only its user may enter
_ROOM_BYTES = 4 << 30


def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes run tests with `-n auto`."""
    return _WORKERS_PER_CORE * (os.cpu_count() or 1)


class Scheduling(LoadScopeScheduling):
    """Scheduling of single tests. Only the tests of new jobs stay together, because they share a copy."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if path.endswith("test_new_jobs.py") else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Return the order in which processes get tests."""
    return Scheduling(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--full-size`."""
    parser.addoption("--full-size", action="store_true", help="faults among as many rows and pictures as CI takes")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of tests in memory, and the environment of the shell out of them.

    Refuse a path that does not exist, which parallel processes do in silence.
    """
    os.environ.pop("ENV", None)
    if _memory_has_room():
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    for argument in config.args:
        if not (config.invocation_params.dir / argument.partition("::")[0]).exists():
            raise pytest.UsageError(f"file or directory not found: {argument}")


def _memory_has_room() -> bool:
    """Return whether the system has a folder in memory that is large enough, where programs may run."""
    if not _MEMORY.is_dir():
        return False
    about = os.statvfs(_MEMORY)
    return about.f_bavail * about.f_frsize >= _ROOM_BYTES and not about.f_flag & os.ST_NOEXEC


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Name a test that leaves Ctrl-C without its usual effect: later tests in its process would miss it."""
    yield
    handler = signal.getsignal(signal.SIGINT)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert handler is signal.default_int_handler, f"SIGINT is left with the handler {handler}"
    assert signal.SIGINT not in blocked, "SIGINT is left blocked"


@pytest.fixture(scope="session", autouse=True)
def _descriptions_of_s3() -> Iterator[None]:
    """Let all S3 clients share the descriptions that the library reads. Each would parse 2 MB of JSON for itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", functools.cache(JSONFileLoader.load_file))
        patch.setattr(Loader, "FILE_LOADER_CLASS", staticmethod(functools.cache(JSONFileLoader)))
        yield


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Start a NATS server without any stream."""
    server = NatsServer(tmp_path / "stack")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[S3Server]:
    """Start an S3 server with one empty bucket."""
    server = S3Server(tmp_path / "stack")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Start the PostgreSQL server that tests share. No test stops it."""
    folder = tmp_path_factory.mktemp("postgres")
    server = PostgresServer(folder)
    server.start()
    yield server
    server.stop_immediately()
    shutil.rmtree(folder)


@pytest.fixture
def own_postgres_server(tmp_path: Path) -> Iterator[PostgresServer]:
    """Start a PostgreSQL server that the test may kill and restart."""
    server = PostgresServer(tmp_path / "stack")
    server.start()
    yield server
    server.stop_immediately()
    shutil.rmtree(tmp_path / "stack")


_numbers = itertools.count(1)


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """Create an empty database on `postgres_server`, and yield its name for `postgres_server.dsn_of(database)`."""
    name = f"test_{next(_numbers)}"

    async def run(statement: str) -> None:
        connection = await asyncpg.connect(postgres_server.dsn)
        await connection.execute(statement)
        await connection.close()

    # Copying the files takes a quarter of the time of the default.
    asyncio.run(run(f"CREATE DATABASE {name} STRATEGY FILE_COPY"))
    yield name
    asyncio.run(run(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def declare(nats_server: NatsServer) -> Callable[..., Awaitable[None]]:
    """Return a function that creates the stream and consumers: `await declare()`, `await declare(ack_wait_s=2)`."""

    async def declare_with(ack_wait_s: float | None = None) -> None:
        await apply_streams(nats_server.url, ack_wait_s=ack_wait_s)

    return declare_with


@pytest.fixture
def stack_environment(nats_server: NatsServer, s3_server: S3Server) -> dict[str, str]:
    """Return the variables with which a job finds the two servers."""
    return nats_server.environment() | s3_server.environment()


@pytest.fixture
def start_job(stack_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., JobProcess]]:
    """Return a function that starts a job and waits until it is ready: `start_job("image-resize", CONCURRENCY="1")`."""
    started: list[JobProcess] = []

    def start(job: str, **environment: str) -> JobProcess:
        log = tmp_path / "stack" / f"{job}-{len(started)}.log"
        process = JobProcess(job, stack_environment | environment, log)
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.kill()
