"""Behaviour that only a real server shows: rights, several jobs, restarts, and the numbers that KEDA reads."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig

from keda_jobs.domain.broker import Delivery, Outgoing
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerClosed, BrokerUnavailable, Misconfigured
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, free_port, until
from stack.streams import declaration_for

USERS = """
accounts {
  APP {
    jetstream: enabled
    users: [
      { user: admin, password: admin-password }
      { user: resize, password: resize-password, permissions: {
          publish: { allow: [
            "$JS.API.CONSUMER.MSG.NEXT.keda-jobs-events.resize-consumer",
            "$JS.ACK.keda-jobs-events.resize-consumer.>",
            "dead-letter", "retry.wait.resize.>" ] }
          subscribe: { allow: ["_INBOX_resize.>"] } } }
    ]
  }
}
"""


async def make_stream(client: Client, *jobs: str, subject: str = "pictures") -> None:
    await apply(NatsConnection(client), declaration_for(dict.fromkeys(jobs, subject), [subject]))


@asynccontextmanager
async def broker_of(server: NatsServer, job: str, **settings: Any) -> AsyncIterator[tuple[Client, JetStreamBroker]]:
    async with connect(NatsSettings(nats_url=server.url, **settings), name=job, wait=True) as connection:
        yield connection.client, await JetStreamBroker.bind(connection, f"{job}-consumer")


async def next_delivery(broker: JetStreamBroker, deadline_s: float = 10.0) -> Delivery:
    async with asyncio.timeout(deadline_s):
        while True:
            with contextlib.suppress(BrokerUnavailable):
                for delivery in await broker.fetch(1):
                    return delivery


async def lag(client: Client, job: str) -> tuple[int, int]:
    info = await client.jetstream().consumer_info(STREAM, f"{job}-consumer")
    return info.num_pending or 0, info.num_ack_pending or 0


async def test_a_waiting_retry_counts_in_no_consumer_and_returns_only_to_its_job(nats_server: NatsServer) -> None:
    async with (
        broker_of(nats_server, "resize") as (client, resize),
        broker_of(nats_server, "classify") as (_, classify),
    ):
        await make_stream(client, "resize", "classify")
        await client.jetstream().publish("pictures", b'{"n": 1}', headers={"trace": "t", "Nats-Msg-Id": "p1"})
        ours, theirs = await next_delivery(resize), await next_delivery(classify)
        await theirs.ack()
        message = Message.from_delivery(ours.received, "resize")
        assert await resize.publish(scheduled_retry(message, "resize", 1.5, datetime.now(UTC)))
        await ours.ack()
        assert await lag(client, "resize") == (0, 0)
        assert await lag(client, "classify") == (0, 0)

        again = Message.from_delivery((await next_delivery(resize)).received, "resize")
        assert (again.attempt, again.id, again.subject, again.data) == (2, message.id, "pictures", b'{"n": 1}')
        assert again.headers == {"trace": "t"}
        assert await lag(client, "resize") == (0, 1)
        assert await lag(client, "classify") == (0, 0)
        assert await classify.fetch(1) == []


async def test_two_jobs_may_retry_the_same_message_at_the_same_time(nats_server: NatsServer) -> None:
    async with (
        broker_of(nats_server, "resize") as (client, resize),
        broker_of(nats_server, "classify") as (_, classify),
    ):
        await make_stream(client, "resize", "classify")
        await client.jetstream().publish("pictures", b"{}")
        for job, broker in (("resize", resize), ("classify", classify)):
            delivery = await next_delivery(broker)
            retry = scheduled_retry(Message.from_delivery(delivery.received, job), job, 0.1, datetime.now(UTC))
            assert await broker.publish(retry), "dropped as a duplicate of the other job's retry"
            await delivery.ack()
        for broker in (resize, classify):
            assert (await next_delivery(broker)).received.headers["Keda-Jobs-Attempt"] == "1"


async def test_a_stream_made_anew_with_a_message_in_flight_loses_none(nats_server: NatsServer, tmp_path: Path) -> None:
    async def removed() -> bool:
        return not (tmp_path / "stack/nats/jetstream/$G/streams" / STREAM).exists()

    # Its numbers begin at 1 again, while outcomes of the former stream's messages are still published.
    async with broker_of(nats_server, "resize") as (client, resize):
        messages = []
        for _ in range(2):
            await make_stream(client, "resize")
            await client.jetstream().publish("pictures", b"{}")
            delivery = await next_delivery(resize)
            messages.append(Message.from_delivery(delivery.received, "resize"))
            if len(messages) == 1:
                await client.jetstream().delete_stream(STREAM)
                # The server does so after its answer. A stream of the same name may find what is left.
                await until(removed)
        assert [message.sequence for message in messages] == [1, 1]
        await delivery.ack()
        for message in messages:
            dead = dead_letter(message, "resize", Dead("no", "No"), resize.max_payload, datetime.now(UTC))
            assert await resize.publish(Outgoing("pictures", b"{}", message.id.msg_id("pictures")))
            assert await resize.publish(dead)
            assert await resize.publish(scheduled_retry(message, "resize", 1.0, datetime.now(UTC)))
        back = [Message.from_delivery((await next_delivery(resize)).received, "resize") for _ in range(4)]
        assert {message.id for message in back if message.attempt == 2} == {message.id for message in messages}


async def test_a_dead_letter_outlives_the_max_age_of_the_stream(nats_server: NatsServer) -> None:
    async with broker_of(nats_server, "resize") as (client, broker):
        await make_stream(client, "resize")
        await broker.publish(Outgoing("dead-letter", b"{}", "l1", {"Nats-TTL": "never"}))
        await broker.publish(Outgoing("pictures", b"{}", "p1"))
        jetstream = client.jetstream()
        config = (await jetstream.stream_info(STREAM)).config
        await jetstream.update_stream(config.evolve(max_age=1.0, duplicate_window=1.0))

        async def subjects() -> dict[str, int]:
            info = await jetstream.stream_info(STREAM, subjects_filter=">")
            return info.state.subjects or {}

        async def aged_out() -> bool:
            return "pictures" not in await subjects()

        await until(aged_out)
        assert await subjects() == {"dead-letter": 1}


async def test_a_worker_needs_only_the_rights_to_pull_ack_and_publish(tmp_path: Any) -> None:
    server = NatsServer(tmp_path / "nats", extra=USERS)
    server.start()
    try:
        async with (
            broker_of(server, "admin", nats_user="admin", nats_password="admin-password") as (admin, _),
            broker_of(server, "resize", nats_user="resize", nats_password="resize-password") as (_, broker),
        ):
            await make_stream(admin, "resize")
            await admin.jetstream().publish("pictures", b"{}")
            delivery = await next_delivery(broker)
            await delivery.in_progress()
            message = Message.from_delivery(delivery.received, "resize")
            await broker.publish(scheduled_retry(message, "resize", 0.1, datetime.now(UTC)))
            await delivery.ack()
            again = await next_delivery(broker)
            await broker.publish(Outgoing("dead-letter", b"{}", "l1"))
            await again.ack()
            assert await lag(admin, "resize") == (0, 0)
            with pytest.raises(BrokerUnavailable):
                await broker.publish(Outgoing("pictures", b"{}", "p2"))
    finally:
        server.stop()


async def test_pulling_continues_after_the_server_was_killed(nats_server: NatsServer) -> None:
    async with broker_of(nats_server, "resize") as (client, broker):
        await make_stream(client, "resize")
        await client.jetstream().publish("pictures", b"1")
        # This ack may never be answered: a killed server can forget the delivery.
        acked = {(await next_delivery(broker)).received.data}
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)
        assert await broker.publish(Outgoing("pictures", b"2", "p2"))
        config = ConsumerConfig(
            durable_name="resize-consumer", filter_subjects=["pictures", "retry.due.resize"], ack_wait=1
        )
        await client.jetstream().add_consumer(STREAM, config)
        async with asyncio.timeout(20):
            while await lag(client, "resize") != (0, 0):
                for delivery in await broker.fetch(8):
                    await delivery.ack()
                    acked.add(delivery.received.data)
        assert acked == {b"1", b"2"}


async def test_a_missing_consumer_says_what_to_do(nats_server: NatsServer) -> None:
    async with broker_of(nats_server, "resize") as (client, broker):
        await make_stream(client)
        with pytest.raises(BrokerUnavailable, match="keda-jobs streams apply"):
            await broker.fetch(1)


async def test_a_closed_connection_stops_the_process(nats_server: NatsServer) -> None:
    async with broker_of(nats_server, "resize") as (client, broker):
        await client.close()
        with pytest.raises(BrokerClosed):
            await broker.fetch(1)


async def test_without_waiting_an_unavailable_server_is_one_line() -> None:
    port = free_port()
    with pytest.raises(BrokerUnavailable, match=f"NATS at nats://127.0.0.1:{port} cannot be reached"):
        async with connect(NatsSettings(nats_url=f"nats://me:secret@127.0.0.1:{port}"), name="test", wait=False):
            pass


@pytest.mark.parametrize("turns", range(8))
async def test_a_cancellation_at_any_moment_stops_connecting(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, turns: int
) -> None:
    # The first one arrives when the server has just answered. There, Python 3.11's `wait_for` loses it.
    reach = asyncio.open_connection
    cancelling: list[asyncio.Task[None]] = []

    async def connects() -> None:
        async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=True):
            await asyncio.Event().wait()

    async def cancel() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        connecting.cancel()

    async def reach_and_be_cancelled(*arguments: Any, **options: Any) -> Any:
        reached = await reach(*arguments, **options)
        cancelling.append(asyncio.create_task(cancel()))
        return reached

    monkeypatch.setattr(asyncio, "open_connection", reach_and_be_cancelled)
    connecting = asyncio.create_task(connects())
    done, _ = await asyncio.wait([connecting], timeout=10)
    assert done
    assert connecting.cancelled()


async def test_an_old_server_is_refused_with_the_required_version() -> None:
    async def old_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello = {"version": "2.12.8", "max_payload": 1048576, "headers": True, "jetstream": True}
        writer.write(b"INFO " + json.dumps(hello).encode() + b"\r\n")
        while line := await reader.readline():
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(old_server, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(Misconfigured, match=r"version 2\.12\.8; at least 2\.15\.0"):
        async with connect(NatsSettings(nats_url=f"nats://127.0.0.1:{port}"), name="test", wait=False):
            pass
    server.close()
    await server.wait_closed()
