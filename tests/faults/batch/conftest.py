"""A server with the users' queue, and the workers on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from stack import PostgresServer
from stack.postgres import DATABASE

from .fleet import Fleet
from .queue_view import QueueView

FleetOf = Callable[..., Fleet]


@pytest.fixture
async def queue(own_postgres_server: PostgresServer) -> AsyncIterator[QueueView]:
    """The queue, once it is made: `await queue.make(JOB.table)`."""
    view = QueueView(own_postgres_server)
    yield view
    await view.disconnect()


@pytest.fixture
def fleet_of(queue: QueueView, tmp_path: Path) -> Iterator[FleetOf]:
    """The workers of a job, none running yet: `fleet_of("users-batch", LEASE_S="2")`."""
    fleets: list[Fleet] = []

    def made(job: str, **environment: str) -> Fleet:
        dsn = queue.server.dsn_of(DATABASE, "users_worker")
        fleets.append(Fleet(queue, job, tmp_path / "workers", {"PG_DSN": dsn, **environment}))
        return fleets[-1]

    yield made
    for fleet in fleets:
        fleet.kill_all()
