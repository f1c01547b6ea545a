"""A database with parcels, and workers on it that a test steers."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack import PostgresServer
from stack.postgres import DATABASE

from .parcels import JOB, Parcels
from .workers import Start, Steering, Worker


@pytest.fixture
def steering(tmp_path: Path) -> Steering:
    """What the handlers of this test obey."""
    return Steering(tmp_path)


@pytest.fixture
async def parcels(postgres_server: PostgresServer, database: str) -> AsyncIterator[Parcels]:
    """An empty table of parcels, with its queue."""
    made = Parcels(postgres_server, database)
    await made.connect()
    await made.apply_schema()
    yield made
    await made.disconnect()


@pytest.fixture
async def own_parcels(own_postgres_server: PostgresServer) -> AsyncIterator[Parcels]:
    """The same on a server that the test may stop."""
    made = Parcels(own_postgres_server, DATABASE)
    await made.connect()
    await made.apply_schema()
    yield made
    await made.disconnect()


@pytest.fixture
def start(request: pytest.FixtureRequest, steering: Steering, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker, without waiting for its first claim: `start(LEASE_S="1")`."""
    table: Parcels = request.getfixturevalue("own_parcels" if "own_parcels" in request.fixturenames else "parcels")
    started: list[Worker] = []

    def started_with(**environment: str) -> Worker:
        pod = f"pod-{len(started)}"
        given = {"PG_DSN": table.dsn, "POD_NAME": pod, **steering.environment, **environment}
        worker = Worker(JOB, given, tmp_path / f"{pod}.log")
        started.append(worker)
        worker.launch()
        return worker

    yield started_with
    for worker in started:
        worker.signal(signal.SIGCONT)
        worker.kill()
