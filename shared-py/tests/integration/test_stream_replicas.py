"""Copies of the streams: their number is not declared. The operator chooses it, and it is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest

from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import ApiError, request
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import read_declaration, with_replicas
from keda_jobs.jetstream.streams import Changes, apply
from keda_jobs.settings import NatsSettings
from keda_jobs.status.stream_details import read_details
from stack import NatsServer, until
from stack.servers import nats_cluster

STREAM = "keda-jobs-events"
DECLARED = read_declaration(Path(__file__).parents[3] / "jobs")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Start three servers in one cluster."""
    cluster = nats_cluster(tmp_path)
    yield cluster
    for server in cluster:
        server.kill()


@pytest.fixture
async def connection(servers: list[NatsServer]) -> AsyncIterator[NatsConnection]:
    settings = NatsSettings(nats_url=",".join(server.url for server in servers))
    async with connect(settings, name="test", wait=True) as connected:
        yield connected


async def answer_about_the_stream(connection: NatsConnection, name: str = STREAM) -> dict[str, Any]:
    async def answer() -> dict[str, Any]:
        with contextlib.suppress(BrokerUnavailable):
            return await request(connection, f"STREAM.INFO.{name}")
        return {}

    info: dict[str, Any] = await until(answer)
    return info


async def replicas(connection: NatsConnection) -> list[int]:
    infos = [await answer_about_the_stream(connection, str(stream["name"])) for stream in DECLARED.streams]
    return [info["config"]["num_replicas"] for info in infos]


async def three_copies(connection: NatsConnection) -> Changes:
    """Apply the declaration with three replicas."""

    async def placed() -> Changes | None:
        try:
            return await apply(connection, with_replicas(DECLARED, 3))
        except ApiError as error:
            # A new cluster treats a server as offline until it has heard from it.
            if "peer offline" not in str(error):
                raise
            return None

    changes: Changes = await until(placed)
    return changes


def test_the_declaration_does_not_fix_the_number() -> None:
    assert not any("num_replicas" in stream for stream in DECLARED.streams)


async def test_a_stream_gets_the_requested_copies_and_keeps_them(
    connection: NatsConnection, servers: list[NatsServer]
) -> None:
    await apply(connection, DECLARED)
    assert set(await replicas(connection)) == {1}

    changes = await three_copies(connection)
    assert [str(change) for change in changes.items if change.kind == "stream"] == [
        f"~ stream {stream['name']}: num_replicas 1 → 3" for stream in DECLARED.streams
    ]
    assert set(await replicas(connection)) == {3}
    assert (await apply(connection, with_replicas(DECLARED, 3))).pending == ()

    assert (await apply(connection, DECLARED)).pending == ()
    assert set(await replicas(connection)) == {3}


async def test_three_copies_survive_the_loss_of_a_server(connection: NatsConnection, servers: list[NatsServer]) -> None:
    await apply(connection, DECLARED)
    await three_copies(connection)

    async def published() -> bool:
        with contextlib.suppress(nats.errors.Error):
            await connection.jetstream.publish("image-download", b"{}", timeout=1)
            return True
        return False

    async def copied() -> bool:
        cluster = (await answer_about_the_stream(connection))["cluster"]
        return [copy["current"] for copy in cluster.get("replicas", [])] == [True, True]

    await until(published)
    await until(copied)
    [events, *_] = await read_details(connection)
    assert {events.leader, *(one.server for one in events.replicas)} == {"nats-0", "nats-1", "nats-2"}
    assert [(one.is_current, one.is_offline) for one in events.replicas] == [(True, False)] * 2
    leader = (await answer_about_the_stream(connection))["cluster"]["leader"]
    await asyncio.to_thread(servers[int(leader.removeprefix("nats-"))].kill)
    await until(published)
    assert (await connection.jetstream.get_msg(STREAM, seq=1)).data == b"{}"


async def test_a_new_stream_gets_its_replicas_at_once(connection: NatsConnection) -> None:
    await apply(connection, with_replicas(DECLARED, 3))
    assert set(await replicas(connection)) == {3}
