"""Server with the queue of `users`, and its workers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from stack import PostgresServer
from stack.postgres import DATABASE

from .fleet import Fleet
from .queue_view import QueueView

NewFleet = Callable[..., Fleet]


@pytest.fixture
async def queue(own_postgres_server: PostgresServer) -> AsyncIterator[QueueView]:
    """Yield the view of a queue, which a test creates by `await queue.make(JOB.table)`."""
    view = QueueView(own_postgres_server)
    yield view
    await view.disconnect()


@pytest.fixture
async def shared_queue(postgres_server: PostgresServer, database: str) -> AsyncIterator[QueueView]:
    """Yield the view of a queue without workers, on the server that tests share."""
    view = QueueView(postgres_server, database)
    yield view
    await view.disconnect()


@pytest.fixture
def new_fleet(queue: QueueView, tmp_path: Path) -> Iterator[NewFleet]:
    """Return a function that creates a fleet without workers: `new_fleet("users-batch", LEASE_S="2")`."""
    fleets: list[Fleet] = []

    def create(job: str, **environment: str) -> Fleet:
        dsn = queue.server.dsn_of(DATABASE, "users_worker")
        fleets.append(Fleet(queue, job, tmp_path / "workers", {"PG_DSN": dsn, **environment}))
        return fleets[-1]

    yield create
    for fleet in fleets:
        fleet.kill_all()
