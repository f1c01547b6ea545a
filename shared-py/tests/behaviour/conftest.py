"""One small stream with one consumer, in memory and on a real server: what holds for one holds for the other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from keda_jobs.domain.broker import Broker, Delivery
from keda_jobs.domain.subjects import STREAM, due_subject, stream_of
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from keda_jobs.testing import InMemoryBroker
from stack import NatsServer, until
from stack.streams import declaration_for

JOB = "greeter"
FILTERS = ("greet", due_subject(JOB))
ACK_WAIT_S = 3.0


class World(Protocol):
    """Broker with a view from outside."""

    @property
    def broker(self) -> Broker: ...

    async def lag(self) -> tuple[int, int]:
        """Return num_pending and num_ack_pending of the consumer."""

    async def bodies(self, subject: str) -> list[bytes]:
        """List the bodies stored under `subject`, oldest first."""

    async def headers(self, subject: str) -> list[Mapping[str, str]]:
        """List the headers of the same messages."""


@dataclass
class InMemoryWorld:
    broker: InMemoryBroker

    async def lag(self) -> tuple[int, int]:
        return self.broker.num_pending, self.broker.num_ack_pending

    async def bodies(self, subject: str) -> list[bytes]:
        return [stored.data for stored in self.broker.messages.values() if stored.subject == subject]

    async def headers(self, subject: str) -> list[Mapping[str, str]]:
        return [stored.headers for stored in self.broker.messages.values() if stored.subject == subject]


@dataclass
class JetStreamWorld:
    broker: JetStreamBroker
    jetstream: Any

    async def lag(self) -> tuple[int, int]:
        info = await self.jetstream.consumer_info(STREAM, f"{JOB}-consumer")
        return info.num_pending, info.num_ack_pending

    async def bodies(self, subject: str) -> list[bytes]:
        return [stored.data for stored in await self._stored(subject)]

    async def headers(self, subject: str) -> list[Mapping[str, str]]:
        return [stored.headers or {} for stored in await self._stored(subject)]

    async def _stored(self, subject: str) -> list[Any]:
        stream = stream_of(subject)
        info = await self.jetstream.stream_info(stream)
        found = []
        for sequence in range(info.state.first_seq, info.state.last_seq + 1):
            try:
                stored = await self.jetstream.get_msg(stream, sequence)
            except Exception as error:
                if "no message found" not in str(error):
                    raise
            else:
                found += [stored] if stored.subject == subject else []
        return found


@pytest.fixture(params=["in-memory", "JetStream"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "in-memory":
        yield InMemoryWorld(InMemoryBroker(FILTERS, ack_wait_s=ACK_WAIT_S))
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    async with connect(NatsSettings(nats_url=server.url), name=JOB, wait=False) as connection:
        await apply(connection, declaration_for({JOB: "greet"}, ["greeted"], ack_wait_s=ACK_WAIT_S))
        broker = await JetStreamBroker.bind(connection, f"{JOB}-consumer", fetch_s=0.3)
        yield JetStreamWorld(broker, connection.client.jetstream())


async def fetch_some(broker: Broker, most: int = 1) -> Sequence[Delivery]:
    """Fetch until there are deliveries."""
    deliveries: Sequence[Delivery] = await until(lambda: broker.fetch(most))
    return deliveries


def decode_all(bodies: list[bytes]) -> list[dict[str, Any]]:
    return [json.loads(body) for body in bodies]
