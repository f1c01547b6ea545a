"""Retries that are due at once, while NATS dies again and again: all arrive.

A server that is killed between firing a schedule and deleting it fires it again: up to 3 of 5000 came twice, with the
same id.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import RETRY_STREAM, STREAM, STREAMS, due_subject, fire_subject
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import request, stream_info
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import with_replicas
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.reader import read_all, read_last
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from keda_jobs.status.stream import read_waiting_retries
from stack import NatsServer, until
from stack.servers import nats_cluster
from stack.streams import declaration_for

pytestmark = pytest.mark.slow

T = TypeVar("T")

JOB = "greeter"
DECLARED = declaration_for({JOB: "greet"})
KILLS = 4
# Time to publish them all. One that is published late is due at once.
LEAD = timedelta(seconds=6)
# More than a cluster takes to elect leaders, and a source to be set up again.
DEADLINE_S = 120
# The source acks after each MB, and the server holds back more when 1000 are not acked, unless the stream allows more.
LEFT, LEFT_BYTES = 2500, 2000


@pytest.fixture
def retries(full_size: bool) -> int:
    """Return how many retries are due at once."""
    return 5000 if full_size else 300


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Start three servers that know each other."""
    servers = nats_cluster(tmp_path)
    yield servers
    for server in servers:
        server.kill()


async def test_none_is_lost_while_the_server_is_killed(nats_server: NatsServer, retries: int) -> None:
    async with connected(nats_server) as connection:
        await apply(connection, DECLARED)
        await schedule_and_wait(connection, retries)
        for _ in range(KILLS):
            await asyncio.to_thread(nats_server.kill)
            await asyncio.to_thread(nats_server.start)
        await all_arrived(connection, retries)


async def test_none_is_lost_while_the_leaders_of_three_servers_are_killed(
    cluster: list[NatsServer], retries: int
) -> None:
    async with replicated(cluster) as connection:
        await schedule_and_wait(connection, retries)
        for turn in range(KILLS):
            leader = await leader_of(connection, STREAMS[turn % 2], cluster)
            await asyncio.to_thread(leader.kill)
            await asyncio.to_thread(leader.start)
        await all_arrived(connection, retries)


async def test_none_is_lost_when_three_servers_are_killed_at_once(cluster: list[NatsServer], retries: int) -> None:
    async with replicated(cluster) as connection:
        await schedule_and_wait(connection, retries)
        for _ in range(2):
            for server in cluster:
                await asyncio.to_thread(server.kill)
            for server in cluster:
                server.launch()
        await all_arrived(connection, retries)


async def test_a_retry_that_is_due_first_takes_no_other_with_it(cluster: list[NatsServer]) -> None:
    # Servers before 2.15 drop the schedules that were stored before the one that fires (nats-server#8423).
    async with replicated(cluster) as connection:
        now = datetime.now(UTC)
        await schedule(connection, [now + timedelta(seconds=seconds) for seconds in (6, 5, 4, 3)])
        await all_arrived(connection, 4)


async def test_a_source_that_was_deleted_and_made_again_goes_on(nats_server: NatsServer) -> None:
    # Its numbers begin again at 1. Servers before 2.15 would skip those that they have seen.
    async with connected(nats_server) as connection:
        await apply(connection, DECLARED)
        for numbers in (range(20), range(20, 23)):
            await request(connection, f"STREAM.DELETE.{RETRY_STREAM}")
            await apply(connection, DECLARED)
            await fire(connection, numbers)
            await all_arrived(connection, numbers.stop)


async def test_retries_that_a_crash_brings_back_hold_up_no_other_and_count_as_taken(
    nats_server: NatsServer, tmp_path: Path
) -> None:
    # As a crash leaves it: the events stream has stored them, and the retries stream does not know.
    store = tmp_path / "stack/nats/jetstream/$G/streams" / RETRY_STREAM
    async with connected(nats_server) as connection:
        await apply(connection, DECLARED)
        await fire(connection, range(1))
        await until(lambda: is_empty(connection))
        config = (await stream_info(connection))["config"]
        await request(connection, f"STREAM.UPDATE.{STREAM}", {**config, "max_msgs": 1, "discard": "new"})
        await fire(connection, range(LEFT), b"{}".ljust(LEFT_BYTES))
        await copy_while_down(nats_server, store, tmp_path / "before")
        await request(connection, f"STREAM.UPDATE.{STREAM}", config)
        await all_arrived(connection, LEFT)
        await copy_while_down(nats_server, tmp_path / "before", store)
        await fire(connection, range(LEFT, LEFT + 1))
        await all_arrived(connection, LEFT + 1)

        assert not await is_empty(connection)
        last = await read_last(connection, due_subject(JOB))
        assert last is not None
        # As docs/streams.md says.
        taken = int(last.headers["Nats-Stream-Source"].split()[1])
        await request(connection, f"STREAM.PURGE.{RETRY_STREAM}", {"filter": fire_subject(JOB), "seq": taken + 1})
        assert await is_empty(connection)
        await fire(connection, range(LEFT + 1, LEFT + 2))
        await all_arrived(connection, LEFT + 2)


async def test_retries_wait_for_an_events_stream_that_was_deleted(nats_server: NatsServer) -> None:
    async with connected(nats_server) as connection:
        await apply(connection, DECLARED)
        await fire(connection, range(3))
        await all_arrived(connection, 3)
        await request(connection, f"STREAM.DELETE.{STREAM}")
        await fire(connection, range(3))
        await apply(connection, DECLARED)
        await all_arrived(connection, 3)


@asynccontextmanager
async def connected(*servers: NatsServer) -> AsyncIterator[NatsConnection]:
    url = ",".join(server.url for server in servers)
    async with connect(NatsSettings(nats_url=url), name="faults", wait=True) as connection:
        yield connection


@asynccontextmanager
async def replicated(cluster: list[NatsServer]) -> AsyncIterator[NatsConnection]:
    """Connect to a cluster, and give it the streams with three replicas."""
    async with connected(*cluster) as connection:
        # A new cluster treats a server as offline until it has heard from it.
        await until(lambda: answered(apply(connection, with_replicas(DECLARED, 3))))
        yield connection


async def answered(request: Awaitable[T]) -> T | None:
    """Return the answer to `request`, None while there is none."""
    try:
        return await request
    except BrokerUnavailable:
        return None


async def schedule_and_wait(connection: NatsConnection, count: int) -> None:
    """Schedule `count` retries that are due at once, and wait until shortly before."""
    due = datetime.now(UTC) + LEAD
    await schedule(connection, [due] * count)
    await until(lambda: datetime.now(UTC) > due - timedelta(seconds=0.5))


def identity(number: int) -> Identity:
    return Identity(JOB, number + 1, 1)


async def schedule(connection: NatsConnection, dues: list[datetime]) -> None:
    """Schedule a retry for each time, as a job does."""
    broker = await JetStreamBroker.bind(connection, f"{JOB}-consumer")
    slots = asyncio.Semaphore(100)

    async def schedule_one(number: int, due: datetime) -> None:
        message = Message("greet", b"{}", {}, identity(number), 1, number, due)
        async with slots:
            await until(lambda: answered(broker.publish(scheduled_retry(message, JOB, 0, due))))

    await asyncio.gather(*(schedule_one(number, due) for number, due in enumerate(dues)))


async def fire(connection: NatsConnection, numbers: range, data: bytes = b"{}") -> None:
    """Publish retries that are due."""
    for number in numbers:
        headers: dict[str, str] = {Header.ID: str(identity(number))}
        await publish(connection, Outgoing(fire_subject(JOB), data, f"fired:{uuid.uuid4()}", headers))


async def is_empty(connection: NatsConnection) -> bool:
    """Return whether the retries stream holds nothing more: the events stream has acknowledged all."""
    return bool((await stream_info(connection, RETRY_STREAM))["state"]["messages"] == 0)


async def copy_while_down(server: NatsServer, source: Path, target: Path) -> None:
    """Kill the server, put `source` in place of the folder `target`, and start the server again."""
    await asyncio.to_thread(server.kill)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    await asyncio.to_thread(server.start)


async def leader_of(connection: NatsConnection, stream: str, cluster: list[NatsServer]) -> NatsServer:
    async def leader() -> str | None:
        info = await answered(stream_info(connection, stream))
        return info["cluster"].get("leader") if info else None

    name: str = await until(leader, DEADLINE_S)
    return cluster[int(name.removeprefix("nats-"))]


async def all_arrived(connection: NatsConnection, count: int) -> None:
    """Wait until all have arrived and none waits. Copies have the same ids."""
    expected = {str(identity(number)) for number in range(count)}

    async def ids() -> set[str]:
        return {message.headers[Header.ID] async for message in read_all(connection, due_subject(JOB))}

    async def complete() -> bool:
        return expected <= (await answered(ids()) or set())

    async def none_waits() -> bool:
        waiting = await answered(read_waiting_retries(connection, JOB))
        return waiting is not None and waiting.count == 0

    await until(complete, DEADLINE_S)
    await until(none_waits, DEADLINE_S)
    assert await ids() == expected
