"""Requests that NATS does not answer: trouble that readiness and metrics show, and that ends when it answers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, StreamConfig

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.errors import Permanent
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream import connection as nats_connection
from keda_jobs.jetstream import pull
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import connect
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import JobSettings, NatsSettings
from stack import NatsServer, until

HEAR = '"_INBOX_greeter.>"'
ACK = f'"$JS.ACK.{STREAM}.greeter-consumer.>"'
USERS = """
accounts {{ APP {{
  jetstream: enabled
  users: [
    {{ user: admin, password: admin-password }}
    {{ user: greeter, password: greeter-password, permissions: {{
        publish: {{ allow: ["$JS.API.CONSUMER.MSG.NEXT.keda-jobs-events.greeter-consumer", "dead-letter", {publish}] }}
        subscribe: {{ allow: [{subscribe}] }} }} }} ] }} }}
"""
WITHOUT_A_RIGHT = {
    "inbox": (ACK, '"nothing"', "permissions violation for subscription"),
    "ack": ('"nothing"', HEAR, "permissions violation for publish"),
}


class Greet(Event, subject="greet"):
    n: int


async def returned(value: bool) -> bool:
    return value


@dataclass
class Users:
    """Server's users, whose rights can be changed while it runs."""

    server: NatsServer
    file: Path

    async def grant(self, publish: str = ACK, subscribe: str = HEAR) -> None:
        """Give these rights and no others."""
        self.file.write_text(USERS.format(publish=publish, subscribe=subscribe))
        await asyncio.to_thread(self.server.reload if self.server.alive else self.server.start)


@pytest.fixture
def users(tmp_path: Path) -> Iterator[Users]:
    folder = tmp_path / "stack"
    folder.mkdir()
    server = NatsServer(folder, extra='include "users.conf"')
    yield Users(server, folder / "users.conf")
    server.kill()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nats_connection, "ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(pull, "_ANSWER_S", 0.5)


@dataclass
class Job:
    """Running loop of an event job, as its probes and metrics show it."""

    process: Process[Any]
    metrics: EventMetrics
    client: Client
    greeted: list[int]

    @property
    def in_nats_trouble(self) -> bool:
        return bool(self.metrics.registry.get_sample_value("keda_jobs_nats_trouble", {"job": "greeter"}))


@asynccontextmanager
async def admin(server: NatsServer, **stream: Any) -> AsyncIterator[Client]:
    """Connect as the user who may do everything, and create the stream and the consumer."""
    settings = NatsSettings(nats_url=server.url, nats_user="admin", nats_password="admin-password")
    async with connect(settings, name="admin", wait=False) as connection:
        jetstream = connection.client.jetstream()
        await jetstream.add_stream(
            StreamConfig(name=STREAM, subjects=["greet", DEAD_LETTER], allow_msg_ttl=True, **stream)
        )
        await jetstream.add_consumer(
            STREAM, ConsumerConfig(durable_name="greeter-consumer", filter_subjects=["greet"], ack_wait=3)
        )
        yield connection.client


@asynccontextmanager
async def greeting(server: NatsServer, error: Exception | None = None) -> AsyncIterator[Job]:
    """Run an event job whose handler raises `error`."""
    greeted: list[int] = []

    async def greet(event: Greet, _message: Message) -> None:
        greeted.append(event.n)
        if error is not None:
            raise error

    process = Process("greeter", JobSettings(ack_wait_s=3))
    metrics = EventMetrics("greeter", process.settings)
    settings = NatsSettings(nats_url=server.url, nats_user="greeter", nats_password="greeter-password")
    state = process.trouble.watch(Part())
    metrics.watch_nats(state)
    async with connect(settings, name="greeter", wait=True, state=state) as connection:
        bound = await JetStreamBroker.bind(connection, "greeter-consumer", fetch_s=0.5)
        runner = Runner(Greet, greet, lambda message: message, 10)
        running = asyncio.create_task(Consumer(process, bound, runner, metrics).run())
        try:
            yield Job(process, metrics, connection.client, greeted)
        finally:
            process.shutdown.request()
            await running


async def lag(client: Client) -> tuple[int, int]:
    info = await client.jetstream().consumer_info(STREAM, "greeter-consumer")
    return info.num_pending or 0, info.num_ack_pending or 0


@pytest.mark.parametrize("right", WITHOUT_A_RIGHT)
async def test_a_missing_right_is_trouble_until_it_is_granted(users: Users, right: str) -> None:
    publish, subscribe, reason = WITHOUT_A_RIGHT[right]
    await users.grant()
    async with admin(users.server) as client, greeting(users.server) as job:
        await users.grant(publish, subscribe)
        await client.publish("greet", b'{"n": 1}')

        async def shown() -> bool:
            return job.in_nats_trouble and reason in (job.process.trouble.reason or "")

        async def done() -> bool:
            return await lag(client) == (0, 0) and job.process.trouble.reason is None

        await until(shown)
        await until(lambda: returned(job.client.stats["reconnects"] > 0))
        await users.grant()
        await until(done)
        assert not job.in_nats_trouble
        assert set(job.greeted) == {1}


async def test_a_server_that_hangs_is_trouble_until_it_goes_on(users: Users) -> None:
    await users.grant()
    async with admin(users.server) as client, greeting(users.server) as job:
        await client.publish("greet", b'{"n": 1}')
        await until(lambda: returned(job.greeted == [1]))
        users.server.signal(signal.SIGSTOP)
        await until(lambda: returned(job.in_nats_trouble))
        users.server.signal(signal.SIGCONT)
        await until(lambda: returned(job.process.trouble.reason is None))
        for n in range(2, 30):
            await client.jetstream().publish("greet", b'{"n":%d}' % n)

        async def done() -> bool:
            return await lag(client) == (0, 0)

        await until(done)
        assert set(job.greeted) == set(range(1, 30))
        assert job.client.stats["reconnects"] > 0


async def test_a_server_that_is_gone_is_trouble_until_it_is_back(users: Users) -> None:
    await users.grant()
    async with admin(users.server), greeting(users.server) as job:
        await until(lambda: returned(not job.in_nats_trouble))
        users.server.kill()
        await until(lambda: returned(not job.client.is_connected and job.in_nats_trouble))
        await asyncio.to_thread(users.server.start)
        await until(lambda: returned(not job.in_nats_trouble))


async def test_while_no_ack_is_confirmed_one_message_runs_at_a_time(users: Users) -> None:
    publish, subscribe, _ = WITHOUT_A_RIGHT["ack"]
    await users.grant(publish, subscribe)
    async with admin(users.server) as client, greeting(users.server) as job:
        await client.publish("greet", b'{"n": 0}')
        await until(lambda: returned(job.in_nats_trouble))
        for n in range(1, 30):
            await client.publish("greet", b'{"n":%d}' % n)
        await until(lambda: returned(len(job.greeted) > 2))
        assert (await lag(client))[1] <= len(job.greeted) < 15
        await users.grant()

        async def done() -> bool:
            return await lag(client) == (0, 0)

        await until(done)


async def test_acks_that_nobody_repeats_are_no_trouble_for_ever(users: Users) -> None:
    publish, subscribe, _ = WITHOUT_A_RIGHT["ack"]
    await users.grant(publish, subscribe)
    async with admin(users.server) as client, greeting(users.server) as job:
        await client.publish("greet", b'{"n": 0}')
        await until(lambda: returned(job.in_nats_trouble))
        await client.jetstream().purge_stream(STREAM)
        await until(lambda: returned(not job.in_nats_trouble))


async def test_a_dead_letter_that_the_stream_refuses_waits_and_is_not_repeated_without_end(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Outgoing] = []
    publish = JetStreamBroker.publish

    async def count(self: JetStreamBroker, outgoing: Outgoing) -> bool:
        tried.append(outgoing)
        return await publish(self, outgoing)

    monkeypatch.setattr(JetStreamBroker, "publish", count)
    await users.grant()
    async with admin(users.server, max_msg_size=200) as client:
        async with greeting(users.server, Permanent("no")) as job:
            await client.publish("greet", b'{"n": 0}')

            async def shown() -> bool:
                return "the dead letter cannot be stored" in (job.process.trouble.reason or "")

            async def stored() -> bool:
                return await lag(client) == (0, 0)

            await until(shown)
            await until(lambda: returned(len(tried) >= 3))
            assert len({outgoing.data for outgoing in tried}) == 1, "a dead letter of a dead letter"
            config = (await client.jetstream().stream_info(STREAM)).config
            await client.jetstream().update_stream(config.evolve(max_msg_size=-1))
            await until(stored)
            assert job.process.trouble.reason is None
            # Each wait is longer than the one before it.
            assert len(tried) < 20
        dead = await client.jetstream().get_last_msg(STREAM, DEAD_LETTER)
        assert (dead.headers or {})["Keda-Jobs-Reason"] == "Permanent: no"


async def test_a_connection_that_the_server_ends_for_good_is_trouble(nats_server: NatsServer) -> None:
    """Nothing else would tell a process that only answers scrapes, when its credentials expire."""
    state = Part()
    async with connect(NatsSettings(nats_url=nats_server.url), name="greeter", wait=True, state=state) as connection:
        assert not state.active
        vars(connection.client)["_transport"].write(b"NONSENSE\r\n")
        await until(lambda: connection.client.is_closed and state.active)
        assert state.reason is not None
        assert state.reason.endswith("unknown protocol operation")
