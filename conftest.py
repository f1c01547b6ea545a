"""Servers and jobs for every test; each test has its own, fresh and killable, because one starts in under 0.1 s."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from stack import JobProcess, NatsServer, S3Server
from stack.streams import apply_streams

# Its deadline is a wall-clock time, and the machine is busy with servers.
settings.register_profile("keda-jobs", deadline=None)
settings.load_profile("keda-jobs")


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A NATS server without any stream."""
    server = NatsServer(tmp_path / "stack")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def s3_server(tmp_path: Path) -> Iterator[S3Server]:
    """An S3 server with one empty bucket."""
    server = S3Server(tmp_path / "stack")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def declare(nats_server: NatsServer) -> Callable[..., Awaitable[None]]:
    """Gives `nats_server` the declared stream and consumers: `await declare()`, `await declare(ack_wait_s=2)`."""

    async def declare_with(ack_wait_s: float | None = None) -> None:
        await apply_streams(nats_server.url, ack_wait_s=ack_wait_s)

    return declare_with


@pytest.fixture
def stack_environment(nats_server: NatsServer, s3_server: S3Server) -> dict[str, str]:
    """The variables by which a job finds the two servers."""
    return nats_server.environment() | s3_server.environment()


@pytest.fixture
def start_job(stack_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., JobProcess]]:
    """Starts a job and waits until it is ready: `start_job("image-resize", CONCURRENCY="1")`."""
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
