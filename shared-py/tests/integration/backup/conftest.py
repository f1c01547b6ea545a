"""Two servers: one whose streams are backed up, and a new one with an empty disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typing_extensions import override

from keda_jobs.backup.manifest import Manifest
from keda_jobs.backup.places import Folder, Place
from keda_jobs.backup.restore import check_backup, plan_restore, restore_backup
from keda_jobs.backup.take import take_backup
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import DEAD_LETTER, RETRY_STREAM, due_subject
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.broker import JetStreamBroker, JetStreamDelivery
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.reader import read_page
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until
from stack.streams import declaration_for

JOB, SUBJECT = "greeter", "greet"
ACK_WAIT_S = 2.0

Action = Callable[[], Awaitable[None]]
Restored = Callable[[Folder, Manifest], Awaitable["World"]]


class World:
    """Server with the streams of one job, seen by its publisher and by a worker that does what a test says."""

    def __init__(self, connection: NatsConnection, broker: JetStreamBroker) -> None:
        self.connection = connection
        self.broker = broker

    async def publish(self, *names: str, size: int = 0) -> None:
        """Publish an event for each name, with `size` bytes behind it that cannot be compressed."""
        for name in names:
            await publish(self.connection, Outgoing(SUBJECT, f"{name} ".encode() + os.urandom(size), name))

    async def fetch(self, count: int) -> list[JetStreamDelivery]:
        """Fetch exactly `count` events."""
        found: list[JetStreamDelivery] = []
        while len(found) < count:
            found += await self.broker.fetch(count - len(found))
        return found

    async def fail(self, delivery: JetStreamDelivery, delay_s: float) -> None:
        """Let an event wait for its next delivery, as a job does."""
        message = Message.from_delivery(delivery.received, JOB)
        await self.broker.publish(scheduled_retry(message, JOB, delay_s, datetime.now(UTC)))
        await delivery.ack()

    async def bury(self, delivery: JetStreamDelivery) -> None:
        """Make a dead letter of an event."""
        message = Message.from_delivery(delivery.received, JOB)
        headers = {"Nats-TTL": "never", Header.JOB: JOB}
        await self.broker.publish(Outgoing(DEAD_LETTER, message.data, message.id.msg_id(DEAD_LETTER), headers))
        await delivery.ack()

    async def rest(self) -> list[str]:
        """Work off all that is there or comes. Return the events, in order."""
        seen: list[str] = []

        async def idle() -> bool:
            for delivery in await self.broker.fetch(100):
                seen.append(delivery.received.data.split(b" ")[0].decode())
                await delivery.ack()
            return not await self.waiting() and not await self.lag()

        await until(idle)
        return seen

    async def waiting(self) -> int:
        """Return the number of retries that the events stream has not taken."""
        return (await read_page(self.connection, ">", 1, 1, RETRY_STREAM)).count

    async def lag(self) -> int:
        [info] = await durable_consumers(self.connection)
        return int(info["num_pending"] + info["num_ack_pending"])

    async def count(self, subject: str) -> int:
        return (await read_page(self.connection, subject, 1, 1)).count

    async def taken(self, count: int = 1) -> None:
        """Wait until the events stream has this many due retries."""

        async def all_there() -> bool:
            return await self.count(due_subject(JOB)) >= count

        await until(all_there)


class Meanwhile(Folder):
    """Folder in which something happens before the first part of a stream is stored."""

    def __init__(self, path: Path, stream: str, action: Action) -> None:
        super().__init__(path)
        self._file = f"{stream}.000001"
        self._action = action

    @override
    async def put(self, name: str, data: bytes | bytearray) -> None:
        if name.endswith(self._file):
            await self._action()
        await super().put(name, data)


Open = Callable[[NatsServer], Awaitable[NatsConnection]]


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NatsServer]:
    """Start a server that has never held a stream."""
    server = NatsServer(tmp_path / "new")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def open_connection(nats_server: NatsServer, new_server: NatsServer) -> AsyncIterator[Open]:
    """Return a function that connects to a server until the end of the test. The servers outlive it."""
    del nats_server, new_server
    async with AsyncExitStack() as stack:

        async def opened(server: NatsServer) -> NatsConnection:
            settings = NatsSettings(nats_url=server.url)
            return await stack.enter_async_context(connect(settings, name="test", wait=True))

        yield opened


@pytest.fixture
async def world(nats_server: NatsServer, open_connection: Open) -> World:
    """Declare the streams of one job."""
    connection = await open_connection(nats_server)
    await apply(connection, declaration_for({JOB: SUBJECT}, ack_wait_s=ACK_WAIT_S))
    return World(connection, await JetStreamBroker.bind(connection, f"{JOB}-consumer", fetch_s=0.5))


@pytest.fixture
def restored(world: World, nats_server: NatsServer, new_server: NatsServer, open_connection: Open) -> Restored:
    """Return a function that kills the server for good and restores its backup on a new one."""

    async def after_the_loss(place: Folder, manifest: Manifest) -> World:
        await world.connection.client.close()
        await asyncio.to_thread(nats_server.kill)
        connection = await open_connection(new_server)
        checked = await check_backup(place, manifest.name, ignore)
        await restore_backup(connection, place, await plan_restore(connection, checked), ignore)
        return World(connection, await JetStreamBroker.bind(connection, f"{JOB}-consumer", fetch_s=0.5))

    return after_the_loss


def ignore(_moved: int) -> None:
    """Show no progress."""


async def backed_up(world: World, place: Place) -> Manifest:
    """Take a backup."""
    return await take_backup(world.connection, place, ignore)
