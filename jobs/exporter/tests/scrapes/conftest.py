"""Exporters that read the test's own servers, and fixtures that fill those servers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from keda_jobs.claims import ClaimQueue, ClaimTable, roles, schema
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_pool
from keda_jobs.settings import PgSettings
from stack import JobProcess, NatsServer, PostgresServer

Start = Callable[..., JobProcess]
Worker = Callable[..., ClaimQueue]

PARCELS = ClaimTable("parcels-batch", "parcels", writes=("result",))
_TABLE = "CREATE TABLE parcels (id bigint PRIMARY KEY, result text)"


@pytest.fixture
def start(nats_server: NatsServer, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts an exporter of `nats_server`: `start()`, `start(PG_DSN=…)`."""
    started: list[JobProcess] = []

    def start_one(**environment: str) -> JobProcess:
        log = tmp_path / f"exporter-{len(started)}.log"
        started.append(JobProcess("exporter", nats_server.environment() | environment, log))
        started[-1].start()
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture
async def client(nats_server: NatsServer) -> AsyncIterator[Client]:
    """Connect to `nats_server`."""
    connection = await nats.connect(nats_server.url)
    yield connection
    await connection.close()


@pytest.fixture
async def owner(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """Connect to `database`, which has the queue of `parcels`."""
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_parcels.sql").write_text(_TABLE)
    connection = await asyncpg.connect(postgres_server.dsn_of(database))
    await schema.apply(connection, PARCELS, tmp_path / "migrations")
    yield connection
    await connection.close()


@pytest.fixture
def exporter_dsn(postgres_server: PostgresServer, database: str) -> str:
    """Return the DSN of `database` for the exporter's role."""
    return postgres_server.dsn_of(database, roles.EXPORTER)


@pytest.fixture
async def worker(postgres_server: PostgresServer, database: str, owner: object) -> AsyncIterator[ClaimQueue]:
    """Yield a worker's queue with two attempts per row."""
    dsn = postgres_server.dsn_of(database, roles.worker_role(PARCELS))
    async with open_pool(PgSettings(pg_dsn=SecretStr(dsn)), name="worker", connections=2, call_s=10) as connections:
        policy = RetryPolicy(max_deliveries=2, step_s=60)
        yield await ClaimQueue.bind(connections, PARCELS, pod_name="pod-1", lease_s=60, call_s=10, policy=policy)
