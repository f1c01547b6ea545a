"""Recipes of the README for the nats CLI, as raw requests on the wire."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from stack import NatsServer

STREAM = "keda-jobs-events"
EVENT = b'{"url":"http://a/1.jpg"}'


@pytest.fixture
async def client(nats_server: NatsServer, declare: Callable[[], Awaitable[None]]) -> AsyncIterator[Client]:
    await declare()
    made = await nats.connect(nats_server.url)
    yield made
    await made.close()


async def ask(client: Client, verb: str, body: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{verb}", json.dumps(body).encode())).data)
    assert "error" not in answer, answer
    return answer


async def bury(client: Client, data: bytes, *, max_payload: int = 1024 * 1024) -> int:
    message = Message("image-download", data, {}, Identity("image-download", 1, 1), 15, 1, datetime.now(UTC))
    stored = dead_letter(message, "image-download", Dead("NotFound: 404", "NotFound"), max_payload, datetime.now(UTC))
    ack = await client.jetstream().publish(stored.subject, stored.data, headers=dict(stored.headers))
    return ack.seq


async def nats_pub(client: Client, data: bytes) -> None:
    """Do `nats pub image-download …`, without headers and confirmation, and wait until it is stored."""
    before = await stored(client)
    await client.publish("image-download", data)
    while await stored(client) == before:
        pass


async def stored(client: Client) -> int:
    return int((await ask(client, f"STREAM.INFO.{STREAM}", {}))["state"]["messages"])


async def stream_get(client: Client, request: dict[str, Any]) -> dict[str, Any]:
    """Do `nats stream get … --json`: return the stored message, with its body in base64 under `data`."""
    message: dict[str, Any] = (await ask(client, f"STREAM.MSG.GET.{STREAM}", request))["message"]
    return message


def through_jq(message: dict[str, Any]) -> bytes:
    """Do `jq -r '.data | @base64d | fromjson | .data'`: compact objects, raw strings, a newline at the end."""
    data = json.loads(base64.b64decode(message["data"]))["data"]
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return text.encode() + b"\n"


async def delivered(client: Client) -> list[bytes]:
    pull = await client.jetstream().pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    return [message.data for message in await pull.fetch(10, timeout=2)]


async def test_a_plain_nats_pub_reaches_the_consumer(client: Client) -> None:
    await nats_pub(client, EVENT)

    assert await delivered(client) == [EVENT]


async def test_nats_stream_subjects_counts(client: Client) -> None:
    await nats_pub(client, EVENT)
    await nats_pub(client, EVENT)
    await bury(client, EVENT)

    info = await ask(client, f"STREAM.INFO.{STREAM}", {"subjects_filter": ">"})

    assert info["state"]["subjects"] == {"image-download": 2, "dead-letter": 1}


async def test_nats_consumer_info_finds_the_consumer(client: Client) -> None:
    await nats_pub(client, EVENT)

    info = await ask(client, f"CONSUMER.INFO.{STREAM}.image-download-consumer", {})

    assert (info["num_pending"], info["num_ack_pending"]) == (1, 0)


async def test_nats_stream_view_reads_only_dead_letters(client: Client) -> None:
    # `stream view` reads through an ephemeral consumer with a filter.
    await nats_pub(client, EVENT)
    await bury(client, EVENT)
    config = {"filter_subject": "dead-letter", "ack_policy": "none", "deliver_policy": "all"}

    made = await ask(client, f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": config})
    pull = await client.jetstream().pull_subscribe_bind(consumer=made["name"], stream=STREAM)
    (stored,) = await pull.fetch(10, timeout=2)

    assert json.loads(stored.data) == {"subject": "image-download", "data": json.loads(EVENT), "num_delivered": 15}
    assert (stored.headers or {})["Keda-Jobs-Reason"] == "NotFound: 404"


async def test_the_last_dead_letter_is_replayed(client: Client) -> None:
    await bury(client, b'{"url":"http://a/0.jpg"}')
    await bury(client, EVENT)

    last = await stream_get(client, {"last_by_subj": "dead-letter"})
    await nats_pub(client, through_jq(last))

    (event,) = await delivered(client)
    assert json.loads(event) == json.loads(EVENT)


async def test_a_dead_letter_is_replayed_by_its_number(client: Client) -> None:
    sequence = await bury(client, EVENT)
    await bury(client, b'{"url":"http://a/2.jpg"}')

    stored = await stream_get(client, {"seq": sequence})
    await nats_pub(client, through_jq(stored))

    (event,) = await delivered(client)
    assert json.loads(event) == json.loads(EVENT)


@pytest.mark.parametrize("data", [b"not json", '"quoted \\" é"'.encode(), b"\xff\xfe", b"[1, null]", b"", b"x" * 2000])
async def test_any_body_gives_a_dead_letter_that_jq_can_read(client: Client, data: bytes) -> None:
    await bury(client, data, max_payload=2048)

    stored = json.loads(base64.b64decode((await stream_get(client, {"last_by_subj": "dead-letter"}))["data"]))

    assert list(stored) == ["subject", "data", "num_delivered"]
