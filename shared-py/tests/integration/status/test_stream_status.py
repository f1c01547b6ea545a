"""Reader of stored messages, and the numbers that come from it, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial

import pytest

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import durable_consumers
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.reader import read_all, read_message, read_page
from keda_jobs.settings import NatsSettings
from keda_jobs.status import dead_letters
from keda_jobs.status.dead_letters import DeadLetterCounter
from keda_jobs.status.stream import oldest_unacked
from stack import NatsServer, until


@pytest.fixture
async def connection(nats_server: NatsServer, declare: Callable[[], Awaitable[None]]) -> AsyncIterator[NatsConnection]:
    await declare()
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as made:
        yield made


async def put(connection: NatsConnection, subject: str, *, size: int = 2, job: str = "image-download") -> int:
    ack = await connection.jetstream.publish(subject, b"x" * size, headers={Header.JOB: job})
    return ack.seq


async def due_retry(connection: NatsConnection) -> int:
    """Publish a retry that is due, and return its sequence in the events stream."""
    await connection.jetstream.publish("retry.fire.image-download", b"{}")

    async def arrived() -> int | None:
        page = await read_page(connection, "retry.due.image-download", 1, 1)
        return page.messages[0].sequence if page.messages else None

    sequence: int = await until(arrived)
    return sequence


async def stored_at(connection: NatsConnection, sequence: int) -> datetime | None:
    return (await connection.jetstream.get_msg(STREAM, seq=sequence)).time


async def test_a_page_has_the_messages_of_its_subject_and_the_number_left(connection: NatsConnection) -> None:
    for subject in ("image-download", "dead-letter", "image-download", "image-download"):
        await put(connection, subject)
    found = await read_page(connection, "image-download", 2, 1)
    assert [(one.sequence, one.subject, one.data) for one in found.messages] == [(3, "image-download", b"xx")]
    assert (found.left, found.count) == (1, 2)
    assert found.messages[0].stored_at == await stored_at(connection, 3)
    assert (await read_page(connection, "image-download", 5, 10)).count == 0


async def test_a_page_stops_at_its_byte_limit_with_at_least_one_message(
    connection: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keda_jobs.jetstream.reader._MAX_BYTES", 2500)
    for _ in range(5):
        await put(connection, "dead-letter", size=1000)
    assert len((await read_page(connection, "dead-letter", 1, 10)).messages) in (2, 3)
    await connection.jetstream.purge_stream(STREAM)
    await put(connection, "dead-letter", size=10_000)
    assert (await read_page(connection, "dead-letter", 1, 10)).count == 1


async def test_a_message_with_the_servers_status_headers_is_a_message(connection: NatsConnection) -> None:
    await connection.jetstream.publish("dead-letter", b"{}", headers={"Status": "204", "Nats-Num-Pending": "many"})
    await put(connection, "dead-letter")
    assert [one.sequence for one in (await read_page(connection, "dead-letter", 1, 10)).messages] == [1, 2]


async def test_without_a_stream_nothing_can_be_read(connection: NatsConnection) -> None:
    await connection.jetstream.delete_stream(STREAM)
    with pytest.raises(BrokerUnavailable, match="messages of dead-letter cannot be read"):
        await read_page(connection, "dead-letter", 1, 1)


async def test_reading_all_ends_with_the_messages_that_were_there(
    connection: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keda_jobs.jetstream.reader._PAGE_SIZE", 2)
    for number in range(5):
        await put(connection, "dead-letter" if number != 2 else "image-download")

    sequences: list[int] = []
    async for message in read_all(connection, "dead-letter"):
        sequences.append(message.sequence)
        await put(connection, "dead-letter")

    assert sequences == [1, 2, 4, 5]


async def test_messages_deleted_while_all_are_read_are_left_out(
    connection: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keda_jobs.jetstream.reader._PAGE_SIZE", 2)
    for _ in range(5):
        await put(connection, "dead-letter")

    sequences: list[int] = []
    async for message in read_all(connection, "dead-letter"):
        if not sequences:
            await connection.jetstream.purge_stream(STREAM, seq=5)
        sequences.append(message.sequence)

    assert sequences == [1, 2, 5]


async def test_a_message_is_read_by_its_number_and_no_other(connection: NatsConnection) -> None:
    first, second = await put(connection, "image-download"), await put(connection, "dead-letter", size=5)
    await connection.jetstream.delete_msg(STREAM, first)

    message = await read_message(connection, second)

    assert message is not None
    assert (message.subject, message.data) == ("dead-letter", b"xxxxx")
    assert await read_message(connection, first) is None
    assert await read_message(connection, second + 1) is None


@pytest.mark.parametrize(
    "block",
    [
        b"NATS/1.0\r\nNats-Sequence: 99\r\nNats-Subject: x\r\nNats-Time-Stamp: never\r\n\r\n",
        b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 0\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nunfinished: x",
        b"NATS/1.0",
        b"no header block",
    ],
)
async def test_no_header_block_of_a_publisher_stops_the_reader(connection: NatsConnection, block: bytes) -> None:
    url = connection.client.connected_url
    assert url is not None
    _, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(b'CONNECT {"headers":true,"verbose":false}\r\n')
    writer.write(b"HPUB dead-letter %d %d\r\n%s{}\r\n" % (len(block), len(block) + 2, block))
    await writer.drain()
    await until(partial(read_message, connection, 1))
    writer.close()
    await put(connection, "dead-letter")

    assert [(message.sequence, message.subject) async for message in read_all(connection, "dead-letter")] == [
        (1, "dead-letter"),
        (2, "dead-letter"),
    ]


async def test_the_oldest_message_is_the_first_of_any_filter_after_the_ack_floor(connection: NatsConnection) -> None:
    async def oldest() -> datetime | None:
        [info] = [one for one in await durable_consumers(connection) if one["name"] == "image-download-consumer"]
        return await oldest_unacked(connection, info)

    assert await oldest() is None
    sequences = [await put(connection, "image-downloaded"), await due_retry(connection)]
    sequences += [await put(connection, "image-download") for _ in range(2)]
    assert await oldest() == await stored_at(connection, sequences[1])
    pull = await connection.jetstream.pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    first, second, third = await pull.fetch(3)
    await second.ack_sync()
    assert await oldest() == await stored_at(connection, sequences[1]), "a later one that was acked changes nothing"
    await first.ack_sync()
    assert await oldest() == await stored_at(connection, sequences[3])
    await third.ack_sync()
    assert await oldest() is None


async def test_dead_letters_are_counted_incrementally_and_again_after_a_deletion(connection: NatsConnection) -> None:
    counter = DeadLetterCounter()
    assert (await counter.read(connection)).total == 0
    first = await put(connection, "dead-letter")
    second = await put(connection, "dead-letter", job="image-resize")
    found = await counter.read(connection)
    assert (found.total, found.by_job, found.is_exact) == (2, {"image-download": 1, "image-resize": 1}, True)
    assert found.oldest["image-resize"] == await stored_at(connection, second)

    third = await put(connection, "dead-letter")
    await connection.jetstream.delete_msg(STREAM, first)
    found = await counter.read(connection)
    assert (found.total, found.by_job) == (2, {"image-resize": 1, "image-download": 1})
    assert found.oldest["image-download"] == await stored_at(connection, third)


async def test_many_dead_letters_take_several_reads(
    connection: NatsConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MAX_DEAD_LETTERS", 2)
    for _ in range(5):
        await put(connection, "dead-letter")
    counter = DeadLetterCounter()
    readings = [await counter.read(connection) for _ in range(3)]
    assert [(found.total, found.by_job["image-download"], found.is_exact) for found in readings] == [
        (5, 2, False),
        (5, 4, False),
        (5, 5, True),
    ]
