"""Metrics of the stream, its consumers, retries and dead letters."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from exporter.metrics import COUNTERS, GAUGES
from exporter.settings import Settings
from exporter.stream import StreamReader
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import STREAM, STREAMS
from keda_jobs.jetstream.api import request
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.runtime.trouble import Part
from stack import NatsServer, publish_raw, until

from .conftest import Start
from .scraping import Scraped, page, scrape

Declare = Callable[[], Awaitable[None]]

MESSAGES, BYTES = (f'stream_{unit}{{stream="{STREAM}"}}' for unit in ("messages", "bytes"))
IDLE = {
    "consumer_pending": 0,
    "consumer_ack_pending": 0,
    "consumer_lag": 0,
    "consumer_redelivered": 0,
    "consumer_waiting_pulls": 0,
    "consumer_oldest_age_seconds": 0,
    "waiting_retries": 0,
    "dead_letters_stored": 0,
    "dead_letter_oldest_age_seconds": 0,
}


async def test_an_empty_stream_has_every_job_at_zero(declare: Declare, start: Start) -> None:
    await declare()
    numbers = await scrape(start())
    assert numbers["image-download"] == numbers["image-resize"] == IDLE
    sizes = [f'stream_{unit}{{stream="{stream}"}}' for stream in STREAMS for unit in ("messages", "bytes")]
    assert numbers.shared == {**dict.fromkeys(sizes, 0), 'scrape_ok{source="nats"}': 1}


async def test_pending_messages_and_messages_in_flight_are_counted(
    declare: Declare, start: Start, client: Client
) -> None:
    await declare()
    exporter = start()
    jetstream = client.jetstream()
    published = time.time()
    for _ in range(3):
        await jetstream.publish("image-download", b"{}")
    pull = await jetstream.pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    [message] = await pull.fetch(1)

    numbers = await scrape(exporter)
    assert numbers.shared[MESSAGES] == 3
    assert numbers.shared[BYTES] > 0
    found = numbers["image-download"]
    assert 0 < found.pop("consumer_oldest_age_seconds") <= time.time() - published
    assert {name: value for name, value in found.items() if value} == {
        "consumer_pending": 2,
        "consumer_ack_pending": 1,
        "consumer_lag": 3,
    }
    assert numbers["image-resize"] == IDLE

    await message.nak()
    delivered: list[Msg] = []
    while len(delivered) < 3:
        delivered += await pull.fetch(3 - len(delivered))
    assert (await scrape(exporter))["image-download"]["consumer_redelivered"] == 1
    for message in delivered:
        await message.ack_sync()
    assert (await scrape(exporter))["image-download"] == IDLE


async def test_the_age_is_that_of_the_first_unacked_message(declare: Declare, start: Start, client: Client) -> None:
    await declare()
    exporter = start()
    jetstream = client.jetstream()
    for subject in ("image-download", "image-downloaded", "retry.fire.image-download"):
        await jetstream.publish(subject, b"{}")
    pull = await jetstream.pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
    [first, _] = await pull.fetch(2)

    async def age() -> float:
        return (await scrape(exporter))["image-download"]["consumer_oldest_age_seconds"]

    before = await age()
    stored = [(await jetstream.get_msg(STREAM, seq=number)).time for number in (1, 3)]
    assert stored[0]
    assert stored[1]
    apart_s = (stored[1] - stored[0]).total_seconds()
    asked = time.monotonic()
    await first.ack_sync()
    after = await age()
    assert before + (time.monotonic() - asked) + 1 > after + apart_s
    assert after > 0


async def test_waiting_retries_and_the_next_due_time_are_reported(
    declare: Declare, start: Start, client: Client
) -> None:
    await declare()
    now = datetime.now(UTC)
    for number, delay_s in enumerate((7200, 600, 3600)):
        message = Message("image-download", b"{}", {}, Identity("image-download", number + 1, 1), 1, number, now)
        retry = scheduled_retry(message, "image-download", delay_s, now)
        await client.jetstream().publish(retry.subject, retry.data, headers=dict(retry.headers))

    numbers = await scrape(start())
    found = numbers["image-download"]
    assert found["waiting_retries"] == 3
    due = found["waiting_retry_next_due_timestamp_seconds"]
    assert abs(due - now.timestamp() - 600) < 0.01
    assert found["consumer_lag"] == 0
    assert numbers["image-resize"] == IDLE


async def test_dead_letters_are_counted_by_job_and_no_label_comes_from_a_message(
    declare: Declare, start: Start, client: Client
) -> None:
    await declare()
    exporter = start()
    began = time.time()
    jobs = ["image-download", "image-resize", "image-resize", 'forged"} 1', None]
    for job in jobs:
        await client.jetstream().publish("dead-letter", b"{}", headers={Header.JOB: job} if job else None)

    numbers = await scrape(exporter)
    assert dead_letters(numbers) == {"image-download": 1, "image-resize": 2, "unknown": 2}
    ages = [numbers[job]["dead_letter_oldest_age_seconds"] for job in dead_letters(numbers)]
    assert all(0 < age <= time.time() - began for age in ages)

    await client.jetstream().delete_msg(STREAM, 2)
    await client.jetstream().publish("dead-letter", b"{}", headers={Header.JOB: "image-download"})
    assert dead_letters(await scrape(exporter)) == {"image-download": 2, "image-resize": 1, "unknown": 2}
    await client.jetstream().purge_stream(STREAM)
    assert (await scrape(exporter))["image-resize"] == IDLE


async def test_header_blocks_that_no_parser_takes_cost_no_metric(
    declare: Declare, start: Start, nats_server: NatsServer
) -> None:
    await declare()
    exporter = start()
    blocks = [
        b"NATS/1.0",
        b"N",
        b"\xff\xfe",
        b"NATS/1.0\r\nStatus: 404\r\n\r\n",
        b"NATS/1.0\r\nNats-Sequence: x\r\n\r\n",
    ]
    for subject in ("image-download", "image-downloaded", "dead-letter"):
        for block in blocks:
            # The first message of a consumer is the one that is read.
            assert await publish_raw(nats_server, subject, [(block, b"{}")]) == []
            numbers = await scrape(exporter)
            assert numbers.shared['scrape_ok{source="nats"}'] == 1
    for job in ("image-download", "image-resize"):
        assert numbers[job]["consumer_lag"] == len(blocks)
        assert numbers[job]["consumer_oldest_age_seconds"] > 0
    assert numbers["unknown"]["dead_letters_stored"] == len(blocks)


async def test_the_storage_is_that_of_the_server_when_the_stream_has_no_limit(
    declare: Declare, start: Start, client: Client, nats_server: NatsServer
) -> None:
    await declare()
    exporter = start(NATS_MONITORING_URL=nats_server.monitor_url)
    await client.jetstream().publish("image-download", b"x" * 1000)
    server = await asyncio.to_thread(monitoring, nats_server)
    numbers = await scrape(exporter)
    assert numbers.shared["jetstream_storage_bytes"] == server["storage"] > 1000
    assert numbers.shared["jetstream_storage_max_bytes"] == server["config"]["max_storage"]

    connection = NatsConnection(client)
    config = (await request(connection, f"STREAM.INFO.{STREAM}"))["config"]
    await request(connection, f"STREAM.UPDATE.{STREAM}", {**config, "max_bytes": 5_000_000})
    numbers = await scrape(exporter)
    assert numbers.shared["jetstream_storage_bytes"] == numbers.shared[BYTES]
    assert numbers.shared["jetstream_storage_max_bytes"] == 5_000_000


async def test_a_removed_consumer_is_no_longer_reported(declare: Declare, start: Start, client: Client) -> None:
    await declare()
    exporter = start()
    before = list((await scrape(exporter)).jobs)
    await client.jetstream().delete_consumer(STREAM, "image-resize-consumer")
    after = list((await scrape(exporter)).jobs)
    assert [job for job in before if job not in after] == ["image-resize"]


async def test_a_reading_right_after_the_start_waits_for_the_connection(
    declare: Declare, nats_server: NatsServer
) -> None:
    await declare()
    reader = StreamReader(Settings(nats_url=nats_server.url), Part())
    reading = asyncio.create_task(reader.read())
    await asyncio.sleep(0)
    async with reader.connected():
        assert (await reading).streams[0].messages == 0


async def test_it_logs_a_missing_stream(start: Start, declare: Declare) -> None:
    exporter = start()
    assert await scrape(exporter) == Scraped({'scrape_ok{source="nats"}': 0}, {})
    assert exporter.last_line().endswith("make it with `keda-jobs streams apply`")
    await declare()
    assert (await scrape(exporter)).shared[MESSAGES] == 0
    await until(lambda: exporter.last_line() == "can read nats again")


async def test_every_metric_has_a_help_text_even_without_a_value(start: Start) -> None:
    lines = [line.split(maxsplit=3) for line in page(start()).splitlines()]
    described = {line[2] for line in lines if line[1] == "HELP"}
    assert described == {name for name, _, _ in GAUGES} | {f"{name}_total" for name, _, _ in COUNTERS}
    assert {line[2] for line in lines if line[1] == "TYPE"} == described


def monitoring(server: NatsServer) -> Any:
    """Fetch the server's monitoring of JetStream."""
    with urllib.request.urlopen(f"{server.monitor_url}/jsz") as response:
        return json.load(response)


def dead_letters(numbers: Scraped) -> dict[str, float]:
    """Return the number of dead letters of each job that has some."""
    return {job: found["dead_letters_stored"] for job, found in numbers.jobs.items() if found["dead_letters_stored"]}
