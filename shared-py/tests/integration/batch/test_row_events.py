"""Events of rows on real servers: confirmed before the row is completed, and not repeated with it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keda_jobs.claims import schema
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.reader import StoredMessage, read_all
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, PostgresServer, until
from stack.streams import declaration_for

from .announcing_batch.job import JOB
from .parcels import FOLDER, Parcels
from .workers import Control, Start, Worker, get

# The worker imports the package by itself, so that it has another name there.
TABLE = replace(JOB.table, batch_name="announcing-batch")


@pytest.fixture
async def parcels(postgres_server: PostgresServer, database: str) -> AsyncIterator[Parcels]:
    """Create the table of the job that announces parcels."""
    table = Parcels(postgres_server, database)
    await table.connect()
    await schema.apply(table.owner, TABLE, FOLDER / "announcing_batch" / "migrations")
    yield table
    await table.disconnect()


@pytest.fixture
def start(parcels: Parcels, nats_server: NatsServer, control: Control, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a worker: `start(LEASE_S="1")`."""
    started: list[Worker] = []

    def start_worker(**environment: str) -> Worker:
        pod = f"pod-{len(started)}"
        given = {"PG_DSN": parcels.dsn, "POD_NAME": pod, **nats_server.environment(), **control.environment}
        worker = Worker("announcing-batch", given | environment, tmp_path / f"{pod}.log")
        started.append(worker)
        worker.launch()
        return worker

    yield start_worker
    for worker in started:
        worker.kill()


class Events:
    """Events in the stream, seen by the test."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection

    async def numbers(self) -> list[int]:
        """Read the parcels that were announced, in order of their numbers."""
        found = [message async for message in read_all(self._connection, "announced")]
        return sorted(json.loads(message.data)["number"] for message in found)

    def counted(self) -> AsyncIterator[StoredMessage]:
        return read_all(self._connection, "counted")

    async def count(self) -> int:
        return len([message async for message in self.counted()])


@pytest.fixture
async def events(nats_server: NatsServer) -> AsyncIterator[Events]:
    """Create the streams, and read them."""
    settings = NatsSettings.model_construct(nats_url=nats_server.url)
    async with connect(settings, name="test", wait=True) as connection:
        await apply(connection, declaration_for({}, ["announced", "counted"]))
        yield Events(connection)


async def test_a_row_is_completed_after_its_events_are_stored(
    parcels: Parcels, events: Events, start: Start, control: Control
) -> None:
    await parcels.insert(plain=40)
    control.open_gate()
    worker = start()
    assert await worker.finish() == 0
    assert await events.numbers() == list(range(1, 41))
    assert await events.count() == 40
    assert await parcels.statuses() == {}  # completed rows of this job are deleted
    assert (await parcels.batch())["completed"] == 40
    assert await parcels.claimable() == 0


async def test_an_event_of_a_row_for_later_waits_in_nats(
    parcels: Parcels, events: Events, start: Start, control: Control
) -> None:
    await parcels.insert(late=3, plain=2)
    control.open_gate()
    assert await start().finish() == 0
    assert await parcels.statuses() == {}
    assert await events.numbers() == [1, 2, 3, 4, 5]

    async def all_counted() -> bool:
        return await events.count() == 5

    await until(all_counted)
    due = {message.headers.get("Nats-Scheduler", "").rpartition(".")[0] async for message in events.counted()}
    assert due == {"", "delay.wait.job.announcing-batch"}


async def test_a_worker_that_dies_before_its_rows_are_completed_repeats_no_event(
    parcels: Parcels, events: Events, start: Start, control: Control
) -> None:
    await parcels.insert(plain=20)
    worker = start(LEASE_S="1", WORKERS="20")
    await until(lambda: len(control.runs) == 20)
    async with parcels.owner.transaction():
        await parcels.owner.execute("LOCK TABLE parcels IN SHARE MODE")  # no result can be written
        control.open_gate()

        async def all_sent() -> bool:
            return await events.count() == 20

        await until(all_sent)
        worker.kill()
    assert await parcels.statuses() == {"processing": 20}
    await until_empty(parcels, start)
    assert await events.numbers() == list(range(1, 21))
    assert await events.count() == 20
    assert len(control.runs) >= 40


async def until_empty(parcels: Parcels, start: Start) -> None:
    """Start workers as KEDA does until no row is left."""
    while await parcels.statuses():

        async def claimable() -> bool:
            return await parcels.claimable() > 0

        await until(claimable)
        assert await start(LEASE_S="1").finish() == 0


async def test_an_outage_of_nats_costs_no_attempt_and_no_row_starts_meanwhile(
    parcels: Parcels, events: Events, nats_server: NatsServer, start: Start, control: Control
) -> None:
    await parcels.insert(plain=30)
    worker = start(WORKERS="2")
    await until(lambda: len(control.runs) == 2)
    await asyncio.to_thread(nats_server.kill)
    await until(lambda: worker.has_logged("disconnected from NATS"))
    control.open_gate()
    await until(lambda: get(f"{worker.http_url}/readyz")[0] == 503)
    assert len(control.runs) == 2
    await asyncio.to_thread(nats_server.start)
    assert await worker.finish() == 0
    assert await events.numbers() == list(range(1, 31))
    assert await parcels.statuses() == {}
    assert (await parcels.batch())["failed"] == 0
    assert len(control.runs) == 30


async def test_a_stop_during_an_outage_gives_the_rows_back(
    parcels: Parcels, events: Events, nats_server: NatsServer, start: Start, control: Control
) -> None:
    await parcels.insert(plain=3)
    worker = start(WORKERS="3", SHUTDOWN_GRACE_S="0.5")
    await until(lambda: len(control.runs) == 3)
    await asyncio.to_thread(nats_server.kill)
    await until(lambda: worker.has_logged("disconnected from NATS"))
    control.open_gate()
    worker.signal(signal.SIGTERM)
    assert await worker.finish() == 0
    rows = await parcels.all("SELECT batch_status, attempts FROM parcels")
    assert rows == [{"batch_status": "pending", "attempts": 0}] * 3
    await asyncio.to_thread(nats_server.start)
    assert await start().finish() == 0
    assert await events.numbers() == [1, 2, 3]
