"""Schedules of job.toml, while NATS dies around their due times: they go on, and none comes much too often."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from keda_jobs.domain.schedule import DeclaredSchedule
from keda_jobs.domain.subjects import DELAYED_STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import stream_info
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import with_replicas
from keda_jobs.jetstream.reader import StoredMessage, read_all
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until
from stack.servers import nats_cluster
from stack.streams import declaration_for

pytestmark = pytest.mark.slow

JOB, SUBJECT = "greeter", "greet"
EVERY_S = 2
RULE = DeclaredSchedule(name="often", every=f"{EVERY_S}s", event={"name": "Ada"})
DECLARED = replace(declaration_for({JOB: SUBJECT}), schedules=(RULE.message(JOB, SUBJECT),))
KILLS = 3
DEADLINE_S = 120


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Start three servers that know each other."""
    servers = nats_cluster(tmp_path)
    yield servers
    for server in servers:
        server.kill()


async def test_a_schedule_goes_on_while_the_leader_is_killed_when_it_is_due(cluster: list[NatsServer]) -> None:
    url = ",".join(server.url for server in cluster)
    async with connect(NatsSettings(nats_url=url), name="faults", wait=True) as connection:
        await until(lambda: applied(connection), DEADLINE_S)
        for _ in range(KILLS):
            seen = await next_one(connection, 0)
            leader = await leader_of(connection, cluster)
            await next_one(connection, seen)
            # The next one is due in two seconds at most. Some kills come before it is fired, some while it is.
            await asyncio.to_thread(leader.kill)
            await next_one(connection, await count(connection))
            await asyncio.to_thread(leader.start)
        assert_no_rule_came_too_often(await arrived(connection))
        changes = await apply(connection, with_replicas(DECLARED, 3))
        assert [str(change) for change in changes.pending] == []


async def test_a_server_that_was_away_publishes_once_for_all_that_were_missed(nats_server: NatsServer) -> None:
    async with connect(NatsSettings(nats_url=nats_server.url), name="faults", wait=True) as connection:
        await apply(connection, DECLARED)
        await next_one(connection, 0)
        await asyncio.to_thread(nats_server.kill)
        away_since = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > away_since + 3 * EVERY_S)
        await asyncio.to_thread(nats_server.start)
        await next_one(connection, await until(lambda: count(connection)))
        assert_no_rule_came_too_often(await arrived(connection))


async def applied(connection: NatsConnection) -> bool:
    """Apply the streams with three replicas. A new cluster treats a server as offline until it has heard from it."""
    try:
        await apply(connection, with_replicas(DECLARED, 3))
    except BrokerUnavailable:
        return False
    return True


async def arrived(connection: NatsConnection) -> list[StoredMessage]:
    try:
        return [message async for message in read_all(connection, SUBJECT)]
    except BrokerUnavailable:
        return []


async def count(connection: NatsConnection) -> int:
    return len(await arrived(connection))


async def next_one(connection: NatsConnection, seen: int) -> int:
    """Wait until more than `seen` events have arrived, and return their number."""

    async def more() -> int:
        found = await count(connection)
        return found if found > seen else 0

    number: int = await until(more, DEADLINE_S)
    return number


async def leader_of(connection: NatsConnection, cluster: list[NatsServer]) -> NatsServer:
    async def leader() -> str | None:
        try:
            return str((await stream_info(connection, DELAYED_STREAM))["cluster"].get("leader") or "")
        except BrokerUnavailable:
            return None

    name: str = await until(leader, DEADLINE_S)
    return cluster[int(name.removeprefix("nats-"))]


def assert_no_rule_came_too_often(messages: list[StoredMessage]) -> None:
    """Check that no more came than one for each interval since the first, and one more for each kill."""
    [first, *_, last] = messages
    assert len(messages) <= intervals(first.stored_at, last.stored_at) + 1 + KILLS


def intervals(first: datetime, last: datetime) -> int:
    return round((last - first).total_seconds() / EVERY_S)
