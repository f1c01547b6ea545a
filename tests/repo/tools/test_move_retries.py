"""The way from the single stream of former versions to today's streams, as docs/streams.md describes it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keda_jobs.domain.subjects import RETRY_STREAM, STREAM
from keda_jobs.jetstream.api import request
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import read_declaration
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from move_retries import move_retries
from stack import NatsServer
from stack.jobs import ROOT

DECLARED = read_declaration(ROOT / "jobs")
RETRIES, EVENTS = (
    next(dict(stream) for stream in DECLARED.streams if stream["name"] == name) for name in (RETRY_STREAM, STREAM)
)
SINGLE = {
    **EVENTS,
    "subjects": [*EVENTS["subjects"], "retry.>"],
    "sources": [],
    "allow_msg_schedules": True,
    "allow_rollup_hdrs": True,
}


@pytest.fixture
async def connection(nats_server: NatsServer) -> AsyncIterator[NatsConnection]:
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as made:
        yield made


async def test_events_positions_dead_letters_and_retries_move(connection: NatsConnection) -> None:
    jetstream = connection.jetstream
    await request(connection, f"STREAM.CREATE.{STREAM}", SINGLE)
    for consumer in DECLARED.consumers:
        made = {"stream_name": STREAM, "config": consumer}
        await request(connection, f"CONSUMER.CREATE.{STREAM}.{consumer['durable_name']}", made)
    for event in (b"done", b"unread"):
        await jetstream.publish("image-download", event)
    await jetstream.publish("dead-letter", b"{}", headers={"Nats-TTL": "never"})
    for number in (1, 2):
        await wait_in_the_single_stream(connection, number)
    pull = await jetstream.pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    [first] = await pull.fetch(1)
    await first.ack_sync()

    state, chunks = await backup(connection)
    await request(connection, f"STREAM.DELETE.{STREAM}")
    await request(connection, f"STREAM.CREATE.{RETRY_STREAM}", RETRIES)
    await restore(connection, state, chunks)
    assert await move_retries(connection) == (2, [])
    assert await move_retries(connection) == (0, [])

    added = [change.name for change in (await apply(connection, DECLARED)).pending]
    assert added == [one["name"] for one in DECLARED.streams if one["name"] not in (STREAM, RETRY_STREAM)]
    assert [message.data for message in await pull.fetch(2)] == [b"unread"]
    assert (await jetstream.get_last_msg(STREAM, "dead-letter")).data == b"{}"
    for number in (1, 2):
        waiting = await jetstream.get_last_msg(RETRY_STREAM, f"retry.wait.image-download.{number}")
        assert waiting.data == b"retry %d" % number
        assert (waiting.headers or {})["Nats-Schedule-Target"] == "retry.fire.image-download"
        assert (waiting.headers or {})["Keda-Jobs-Id"] == str(number)


async def test_what_is_no_retry_stays_and_stops_nothing(connection: NatsConnection) -> None:
    await request(connection, f"STREAM.CREATE.{STREAM}", {**EVENTS, "subjects": ["retry.wait.>"], "sources": []})
    await connection.jetstream.publish("retry.wait.x", b"no schedule")
    await request(connection, f"STREAM.UPDATE.{STREAM}", {**EVENTS, "sources": []})
    await apply(connection, DECLARED)

    assert await move_retries(connection) == (0, [1])


async def wait_in_the_single_stream(connection: NatsConnection, number: int) -> None:
    """Store a retry as former versions did."""
    at = (datetime.now(UTC) + timedelta(hours=9)).isoformat().replace("+00:00", "Z")
    headers = {
        "Nats-Schedule": f"@at {at}",
        "Nats-Schedule-Target": "retry.due.image-download",
        "Keda-Jobs-Id": str(number),
        "Keda-Jobs-Attempt": "1",
        "Keda-Jobs-Subject": "image-download",
    }
    subject = f"retry.wait.image-download.{number}"
    await connection.jetstream.publish(subject, b"retry %d" % number, headers=headers)


async def backup(connection: NatsConnection) -> tuple[dict[str, Any], list[bytes]]:
    """Do `nats stream backup`."""
    client = connection.client
    chunks = await client.subscribe(inbox := client.new_inbox())
    answer = await request(connection, f"STREAM.SNAPSHOT.{STREAM}", {"deliver_subject": inbox, "chunk_size": 65_536})
    found: list[bytes] = []
    while data := (chunk := await chunks.next_msg(timeout=30)).data:
        found.append(data)
        if chunk.reply:
            await chunk.respond(b"")
    return answer["state"], found


async def restore(connection: NatsConnection, state: dict[str, Any], chunks: list[bytes]) -> None:
    """Do `nats stream restore --config jobs/stream.json`."""
    answer = await request(connection, f"STREAM.RESTORE.{STREAM}", {"config": EVENTS, "state": state})
    for chunk in [*chunks, b""]:
        reply = await connection.client.request(answer["deliver_subject"], chunk, timeout=30)
    assert "error" not in json.loads(reply.data)
