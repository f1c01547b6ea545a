"""Copies of the stream: their number is not declared. The operator chooses it, and it is kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import ApiError, ask
from keda_jobs.jetstream.streams import Changes, apply, read_declaration, with_replicas
from stack import NatsServer, free_port, until

STREAM = "keda-jobs-events"
DECLARED = read_declaration(Path(__file__).parents[3] / "jobs")


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[NatsServer]]:
    """Start three servers in one cluster."""
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f"nats://127.0.0.1:{port}" for port in ports)
    made = []
    for number, port in enumerate(ports):
        cluster = f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{routes}] }}'
        made.append(NatsServer(tmp_path / f"nats-{number}", extra=f"server_name: nats-{number}\n{cluster}"))
    for server in made:
        server.launch()
    for server in made:
        server.wait_until_it_answers()
    yield made
    for server in made:
        server.kill()


@pytest.fixture
async def client(servers: list[NatsServer]) -> AsyncIterator[Client]:
    made = await nats.connect([server.url for server in servers])
    yield made
    await made.close()


async def answer_about_the_stream(client: Client) -> dict[str, Any]:
    async def answer() -> dict[str, Any]:
        with contextlib.suppress(BrokerUnavailable):
            return await ask(client, f"STREAM.INFO.{STREAM}")
        return {}

    info: dict[str, Any] = await until(answer)
    return info


async def replicas(client: Client) -> int:
    return int((await answer_about_the_stream(client))["config"]["num_replicas"])


async def three_copies(client: Client) -> Changes:
    """Apply the declaration with three copies."""

    async def placed() -> Changes | None:
        try:
            return await apply(client, with_replicas(DECLARED, 3))
        except ApiError as error:
            # A new cluster treats a server as offline until it has heard from it.
            if "peer offline" not in str(error):
                raise
            return None

    changes: Changes = await until(placed)
    return changes


def test_the_declaration_does_not_fix_the_number() -> None:
    assert "num_replicas" not in DECLARED.stream


async def test_a_stream_gets_the_requested_copies_and_keeps_them(client: Client, servers: list[NatsServer]) -> None:
    await apply(client, DECLARED)
    assert await replicas(client) == 1

    changes = await three_copies(client)
    assert str(changes.items[0]) == f"~ stream {STREAM}: num_replicas 1 → 3"
    assert await replicas(client) == 3
    assert (await apply(client, with_replicas(DECLARED, 3))).pending == ()

    assert (await apply(client, DECLARED)).pending == ()
    assert await replicas(client) == 3


async def test_three_copies_survive_the_loss_of_a_server(client: Client, servers: list[NatsServer]) -> None:
    await apply(client, DECLARED)
    await three_copies(client)

    async def published() -> bool:
        with contextlib.suppress(nats.errors.Error):
            await client.jetstream().publish("image-download", b"{}", timeout=1)
            return True
        return False

    async def copied() -> bool:
        cluster = (await answer_about_the_stream(client))["cluster"]
        return [copy["current"] for copy in cluster.get("replicas", [])] == [True, True]

    await until(published)
    await until(copied)
    leader = (await answer_about_the_stream(client))["cluster"]["leader"]
    await asyncio.to_thread(servers[int(leader.removeprefix("nats-"))].kill)
    await until(published)
    assert (await client.jetstream().get_msg(STREAM, seq=1)).data == b"{}"


async def test_a_new_stream_gets_its_copies_at_once(client: Client) -> None:
    await apply(client, with_replicas(DECLARED, 3))
    assert await replicas(client) == 3
