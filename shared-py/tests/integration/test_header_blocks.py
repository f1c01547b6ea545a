"""Header blocks of strangers, sent raw: each is an event or a dead letter at delivery 1, and ends no reader."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from nats.js.api import ConsumerConfig, StreamConfig

from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.dead_letters import DeadLetterFilter, Snapshot, select_dead_letters
from keda_jobs.jetstream.reader import read_all
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings, NatsSettings
from stack import NatsServer, publish_raw, until

READABLE = [
    # The server takes off what follows `NATS/1.0`.
    b"NATS/1.0 \xff\xff\xff\r\n\r\n",
    b"NATS/1.0 x\r\n\r\n",
    *(b"NATS/1.0 %d\r\n\r\n" % status for status in (100, 204, 404, 408, 409, 503)),
    b"NATS/1.0 503 No Responders \xff\r\nA: 1\r\n\r\n",
    b"",
    b"NATS/1.0\r\n\r\n",
    b"NATS/1.0\r\nA: 1",
    b"NATS/1.0\r\nA: 1\r\n",
    b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n",
    b"NATS/1.0\r\nA: \xff\x00\x1b\r\n folded: 1\r\nno colon\r\n\r\n",
    "NATS/1.0\r\nA: é 𝄞\r\n\r\n".encode(),
    b"NATS/1.0\r\n" + b"".join(b"k%d: v\r\n" % n for n in range(3000)) + b"\r\n",
    b"NATS/1.0\r\nA: " + b"x" * 30_000 + b"\r\n\r\n",
    *(b"NATS/1.0\r\nStatus: %d\r\nDescription: x\r\n\r\n" % status for status in (100, 204, 404, 408, 409, 503)),
    b"NATS/1.0\r\nNats-Sequence: 9\r\nNats-Subject: x\r\nNats-Time-Stamp: x\r\nNats-Num-Pending: x\r\n\r\n",
    b"NATS/1.0\r\nNats-Pending-Size: x\r\n\r\n",
    b"NATS/1.0\r\nKeda-Jobs-Attempt: 99\r\nKeda-Jobs-Id: x\r\nKeda-Jobs-Subject: y\r\nKeda-Jobs-Job: z\r\n\r\n",
]
UNREADABLE = [
    b"N",
    b"\r\n",
    b"\r\n\r\n",
    b"\xff\xfe",
    b"NATS/1.0",
    b"NATS/1.0\r",
    b"NATS/1.0 ",
    b"NATS/1.0 503",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"\0" * 1000,
    b"x" * 65_000,
]
line = st.binary(max_size=30) | st.tuples(st.binary(max_size=9), st.binary(max_size=30)).map(b": ".join)
blocks = st.binary(max_size=60) | st.tuples(
    st.sampled_from([b"NATS/1.0", b"NATS/1.0 503", b"NATS/1.0 x"]),
    st.lists(line, max_size=4),
    st.sampled_from([b"", b"\r\n"]),
).map(lambda parts: b"\r\n".join([parts[0], *parts[1]]) + parts[2])


class Greet(Event, subject="greet"):
    n: int


def event(n: int) -> bytes:
    return b'{"n":%d}' % n


@asynccontextmanager
async def connected(server: NatsServer) -> AsyncIterator[NatsConnection]:
    async with connect(NatsSettings(nats_url=server.url), name="greeter", wait=True) as connection:
        yield connection


async def declare(connection: NatsConnection, *, ack_wait_s: float = 60.0) -> None:
    """Create the stream and the consumer, empty."""
    jetstream = connection.client.jetstream()
    await jetstream.add_stream(
        StreamConfig(name=STREAM, subjects=["greet", DEAD_LETTER], allow_msg_ttl=True, allow_direct=True)
    )
    await jetstream.add_consumer(
        STREAM, ConsumerConfig(durable_name="greeter-consumer", filter_subjects=["greet"], ack_wait=ack_wait_s)
    )


@asynccontextmanager
async def greeting(connection: NatsConnection, greeted: list[int]) -> AsyncIterator[Consumer]:
    """Run the loop of an event job."""

    async def greet(event: Greet, message: Message) -> None:
        assert message.attempt == 1
        greeted.append(event.n)

    process = Process("greeter", JobSettings())
    broker = await JetStreamBroker.bind(connection, "greeter-consumer")
    runner = Runner(Greet, greet, lambda message: message, 10)
    consumer = Consumer(process, broker, runner, EventMetrics("greeter", process.settings))
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        process.shutdown.request()
        await running


async def test_each_is_an_event_or_a_dead_letter_at_delivery_1(nats_server: NatsServer) -> None:
    async with connected(nats_server) as connection:
        await declare(connection)
        greeted: list[int] = []
        sent = [*UNREADABLE, *READABLE]
        assert await publish_raw(nats_server, "greet", [(block, event(n)) for n, block in enumerate(sent)]) == []
        async with greeting(connection, greeted):

            async def settled() -> bool:
                info = await connection.client.jetstream().consumer_info(STREAM, "greeter-consumer")
                return (info.delivered.consumer_seq, info.num_pending, info.num_ack_pending) == (len(sent), 0, 0)

            await until(settled)
        assert Counter(greeted) == Counter(range(len(UNREADABLE), len(sent)))
        snapshot = await Snapshot.take(connection)
        dead = [dead async for dead in select_dead_letters(connection, DeadLetterFilter(), snapshot)]
        assert [(letter.data, letter.num_delivered, letter.error_class) for letter in dead] == [
            ({"n": n}, 1, "UnreadableHeaders") for n in range(len(UNREADABLE))
        ]
        assert connection.client.stats["reconnects"] == 0


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(blocks, min_size=1, max_size=20))
def test_any_block_is_delivered_once_and_read_again(nats_server: NatsServer, sent: list[bytes]) -> None:
    async def deliver() -> None:
        async with connected(nats_server) as connection:
            await declare(connection)
            # A stream that is deleted and made again at once may come back with its old messages.
            await connection.client.jetstream().purge_stream(STREAM)
            broker = await JetStreamBroker.bind(connection, "greeter-consumer")
            assert await publish_raw(nats_server, "greet", [(block, event(n)) for n, block in enumerate(sent)]) == []
            received: list[bytes] = []
            while len(received) < len(sent):
                for delivery in await broker.fetch(len(sent)):
                    assert delivery.received.num_delivered == 1
                    received.append(delivery.received.data)
                    await delivery.ack()
            stored = [message async for message in read_all(connection, "greet")]
            assert [(message.subject, message.data) for message in stored] == [("greet", data) for data in received]
            assert received == [event(n) for n in range(len(sent))]
            assert connection.client.stats["reconnects"] == 0

    asyncio.run(deliver())
