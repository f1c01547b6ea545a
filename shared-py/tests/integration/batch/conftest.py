"""Database with parcels, and worker processes that a test controls."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack import PostgresServer
from stack.postgres import DATABASE

from .parcels import JOB, Parcels
from .workers import Control, Start, Worker


@pytest.fixture
def control(tmp_path: Path) -> Control:
    """Control the handlers of this test."""
    return Control(tmp_path)


@pytest.fixture
async def parcels(postgres_server: PostgresServer, database: str) -> AsyncIterator[Parcels]:
    """Create an empty table of parcels with its queue."""
    table = Parcels(postgres_server, database)
    await table.connect()
    await table.apply_schema()
    yield table
    await table.disconnect()


@pytest.fixture
async def own_parcels(own_postgres_server: PostgresServer) -> AsyncIterator[Parcels]:
    """Create the table on a server that the test may stop."""
    table = Parcels(own_postgres_server, DATABASE)
    await table.connect()
    await table.apply_schema()
    yield table
    await table.disconnect()


@pytest.fixture
def start(request: pytest.FixtureRequest, control: Control, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a worker without waiting for its first claim: `start(LEASE_S="1")`."""
    parcels: Parcels = request.getfixturevalue("own_parcels" if "own_parcels" in request.fixturenames else "parcels")
    started: list[Worker] = []

    def start_worker(**environment: str) -> Worker:
        pod = f"pod-{len(started)}"
        given = {"PG_DSN": parcels.dsn, "POD_NAME": pod, **control.environment, **environment}
        worker = Worker(JOB, given, tmp_path / f"{pod}.log")
        started.append(worker)
        worker.launch()
        return worker

    yield start_worker
    for worker in started:
        worker.signal(signal.SIGCONT)
        worker.kill()
