"""Numbers of the stream, read from a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

import nats
import pytest
from nats.aio.client import Client

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.reader import page
from keda_jobs.jetstream.streams import durable_consumers
from keda_jobs.status import dead_letters as letters
from keda_jobs.status.dead_letters import LetterCount
from keda_jobs.status.stream import oldest_unacked
from stack import NatsServer


@pytest.fixture
async def client(nats_server: NatsServer, declare: Callable[[], Awaitable[None]]) -> AsyncIterator[Client]:
    await declare()
    connection = await nats.connect(nats_server.url)
    yield connection
    await connection.close()


async def put(client: Client, subject: str, *, size: int = 2, job: str = "image-download") -> int:
    ack = await client.jetstream().publish(subject, b"x" * size, headers={Header.JOB: job})
    return ack.seq


async def stored_at(client: Client, sequence: int) -> datetime | None:
    return (await client.jetstream().get_msg(STREAM, seq=sequence)).time


async def test_a_page_has_the_messages_of_its_subject_and_the_number_left(client: Client) -> None:
    for subject in ("image-download", "dead-letter", "image-download", "image-download"):
        await put(client, subject)
    found = await page(client, "image-download", 2, 1)
    assert [(one.sequence, one.subject, one.data) for one in found.messages] == [(3, "image-download", b"xx")]
    assert (found.left, found.count) == (1, 2)
    assert found.messages[0].stored_at == await stored_at(client, 3)
    assert (await page(client, "image-download", 5, 10)).count == 0


async def test_a_page_stops_at_its_byte_limit_with_at_least_one_message(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keda_jobs.jetstream.reader._MOST_BYTES", 2500)
    for _ in range(5):
        await put(client, "dead-letter", size=1000)
    assert len((await page(client, "dead-letter", 1, 10)).messages) in (2, 3)
    await client.jetstream().purge_stream(STREAM)
    await put(client, "dead-letter", size=10_000)
    assert (await page(client, "dead-letter", 1, 10)).count == 1


async def test_a_message_with_the_servers_status_headers_is_a_message(client: Client) -> None:
    await client.jetstream().publish("dead-letter", b"{}", headers={"Status": "204", "Nats-Num-Pending": "many"})
    await put(client, "dead-letter")
    assert [one.sequence for one in (await page(client, "dead-letter", 1, 10)).messages] == [1, 2]


async def test_without_a_stream_nothing_can_be_read(client: Client) -> None:
    await client.jetstream().delete_stream(STREAM)
    with pytest.raises(BrokerUnavailable, match="messages of dead-letter cannot be read"):
        await page(client, "dead-letter", 1, 1)


async def test_the_oldest_message_is_the_first_of_any_filter_after_the_ack_floor(client: Client) -> None:
    async def oldest() -> datetime | None:
        [info] = [one for one in await durable_consumers(client) if one["name"] == "image-download-consumer"]
        return await oldest_unacked(client, info)

    assert await oldest() is None
    sequences = [await put(client, subject) for subject in ("image-downloaded", "retry.due.image-download")]
    sequences += [await put(client, "image-download") for _ in range(2)]
    assert await oldest() == await stored_at(client, sequences[1])
    pull = await client.jetstream().pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    first, second, third = await pull.fetch(3)
    await second.ack_sync()
    assert await oldest() == await stored_at(client, sequences[1]), "a later one that was acked changes nothing"
    await first.ack_sync()
    assert await oldest() == await stored_at(client, sequences[3])
    await third.ack_sync()
    assert await oldest() is None


async def test_dead_letters_are_counted_incrementally_and_again_after_a_deletion(client: Client) -> None:
    counter = LetterCount()
    assert (await counter.read(client)).total == 0
    first = await put(client, "dead-letter")
    second = await put(client, "dead-letter", job="image-resize")
    found = await counter.read(client)
    assert (found.total, found.by_job, found.is_exact) == (2, {"image-download": 1, "image-resize": 1}, True)
    assert found.oldest["image-resize"] == await stored_at(client, second)

    third = await put(client, "dead-letter")
    await client.jetstream().delete_msg(STREAM, first)
    found = await counter.read(client)
    assert (found.total, found.by_job) == (2, {"image-resize": 1, "image-download": 1})
    assert found.oldest["image-download"] == await stored_at(client, third)


async def test_many_dead_letters_take_several_reads(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(letters, "MOST_LETTERS", 2)
    for _ in range(5):
        await put(client, "dead-letter")
    counter = LetterCount()
    readings = [await counter.read(client) for _ in range(3)]
    assert [(found.total, found.by_job["image-download"], found.is_exact) for found in readings] == [
        (5, 2, False),
        (5, 4, False),
        (5, 5, True),
    ]
