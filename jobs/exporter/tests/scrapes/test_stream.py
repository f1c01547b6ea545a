"""Metrics of the stream, its consumers, retries, events for later and dead letters."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import signal
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from exporter.metrics import COUNTERS, GAUGES, server_samples
from exporter.server import read_server
from exporter.settings import Settings
from exporter.stream import StreamReader
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import delayed
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import RETRY_STREAM, STREAM, STREAMS
from keda_jobs.jetstream.api import request
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.runtime.trouble import Part
from keda_jobs.status.delayed_events import read_delayed_events
from keda_jobs.status.stream import StreamState
from stack import Authority, NatsServer, publish_raw, until
from stack.ports import HOST

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
    units = ("messages", "bytes", "replicas_behind")
    sizes = [f'stream_{unit}{{stream="{stream}"}}' for stream in STREAMS for unit in units]
    sizes += ["delayed_events", "delayed_events_overdue"]
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
    before = time.time()
    for message in delivered:
        await message.ack_sync()
    found = (await scrape(exporter))["image-download"]
    assert found.pop("consumer_last_ack_timestamp_seconds") > before - 1
    assert found == IDLE


async def test_the_last_backup_is_the_last_complete_one(declare: Declare, start: Start, client: Client) -> None:
    await declare()
    exporter = start()
    jetstream = client.jetstream()
    last_backup = "last_backup_timestamp_seconds"

    assert last_backup not in (await scrape(exporter)).shared
    await jetstream.publish("backup.started", b"")
    assert (await scrape(exporter)).shared[last_backup] == 0
    await jetstream.publish("backup.complete", b"2026-11-27T01-15-00Z")
    await jetstream.publish("backup.started", b"")
    began = datetime(2026, 11, 27, 1, 15, tzinfo=UTC)
    assert (await scrape(exporter)).shared[last_backup] == began.timestamp()


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


async def test_events_for_later_and_the_next_due_time_are_reported(
    declare: Declare, start: Start, client: Client
) -> None:
    await declare()
    now = datetime.now(UTC)
    for delay_s in (7200, 600, 3600):
        event = delayed(Outgoing("image-download", b"{}", f"{delay_s}"), now + timedelta(seconds=delay_s))
        await client.jetstream().publish(event.subject, event.data, headers=dict(event.headers))

    numbers = await scrape(start())
    assert (numbers.shared["delayed_events"], numbers.shared["delayed_events_overdue"]) == (3, 0)
    due = numbers.shared["delayed_event_next_due_timestamp_seconds"]
    assert abs(due - now.timestamp() - 600) < 0.01
    assert numbers["image-download"] == IDLE


async def test_an_event_that_is_due_for_a_minute_and_not_published_is_overdue(
    declare: Declare, nats_server: NatsServer, client: Client
) -> None:
    await declare()
    await client.jetstream().publish("delay.fire.read-by-nobody", b"{}")

    async with connect(Settings(nats_url=nats_server.url), name="exporter", wait=True) as connection:
        due = (await read_delayed_events(connection, datetime.now(UTC))).next_due
        assert due is not None
        for late_s, overdue in ((60, 0), (61, 1)):
            found = await read_delayed_events(connection, due + timedelta(seconds=late_s))
            assert (found.count, found.overdue) == (1, overdue)


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


async def test_a_job_whose_consumer_is_deleted_keeps_its_dead_letters_and_its_retries(
    declare: Declare, start: Start, client: Client
) -> None:
    await declare()
    exporter = start()
    message = Message("image-download", b"{}", {}, Identity("image-download", 1, 1), 1, 1, datetime.now(UTC))
    retry = scheduled_retry(message, "image-download", 600, datetime.now(UTC))
    await client.jetstream().publish(retry.subject, retry.data, headers=dict(retry.headers))
    await client.jetstream().publish("dead-letter", b"{}", headers={Header.JOB: "image-download"})
    before = await scrape(exporter)

    await client.jetstream().delete_consumer(STREAM, "image-download-consumer")
    numbers = await scrape(exporter)
    assert dead_letters(numbers) == dead_letters(before) == {"image-download": 1}
    assert numbers["image-download"]["waiting_retries"] == 1
    assert not [name for name in numbers["image-download"] if name.startswith("consumer_")]


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
    for stream in STREAMS:
        assert (await scrape(exporter)).shared[f'stream_leaderless{{stream="{stream}"}}'] == 0
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


async def test_a_stream_without_a_leader_is_reported_where_nats_itself_does_not_answer(start: Start) -> None:
    """Serve what nats-server 2.15.1 says when two of its three servers are down."""
    groups = [{"name": STREAM, "cluster": {"replicas": []}, "config": {"max_bytes": -1}}]
    groups += [{"name": "keda-jobs-retries", "cluster": {"leader": "nats-1"}}, {"name": "not-ours", "cluster": {}}]
    server = {"storage": 1, "config": {"max_storage": 9}, "account_details": [{"stream_detail": groups}]}
    with page_of(server) as url:
        numbers = await scrape(start(NATS_MONITORING_URL=url))
    assert {name: value for name, value in numbers.shared.items() if "leaderless" in name} == {
        f'stream_leaderless{{stream="{STREAM}"}}': 1,
        'stream_leaderless{stream="keda-jobs-retries"}': 0,
    }
    assert numbers.shared['scrape_ok{source="nats"}'] == 0
    assert numbers.shared['scrape_ok{source="monitoring"}'] == 1


async def test_a_stream_that_cannot_be_written_is_reported_until_a_restart(
    declare: Declare, start: Start, client: Client, nats_server: NatsServer
) -> None:
    await declare()
    exporter = start(NATS_MONITORING_URL=nats_server.monitor_url)
    events, retries = (f'stream_write_failed{{stream="{stream}"}}' for stream in (STREAM, RETRY_STREAM))
    numbers = (await scrape(exporter)).shared
    assert (numbers[events], numbers[retries]) == (0, 0)

    with nats_server.without_room(), pytest.raises(TimeoutError):
        await client.jetstream().publish("retry.wait.filler", b"x", timeout=1)
    numbers = (await scrape(exporter)).shared
    assert (numbers[events], numbers[retries], numbers['scrape_ok{source="monitoring"}']) == (0, 1, 1)

    await asyncio.to_thread(nats_server.restart)
    assert (await scrape(exporter)).shared[retries] == 0


async def test_the_certificate_is_the_one_that_nats_shows_now(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("tls", days=1)
    server = NatsServer(tmp_path, extra=f'tls {{ cert_file: "{shown.certificate}", key_file: "{shown.key}" }}')
    await asyncio.to_thread(server.start)
    try:
        assert 0 < await days_left(server) <= 1
        authority.issue("tls", days=90)
        assert 0 < await days_left(server) <= 1, "the server has not read it yet"
        server.signal(signal.SIGHUP)
        await until(lambda: is_renewed(server))
    finally:
        server.kill()


async def is_renewed(server: NatsServer) -> bool:
    return await days_left(server) > 89


async def days_left(server: NatsServer) -> float:
    """Return how many days the certificate of `server` is valid for."""
    [expiry] = [
        sample.value
        for sample in server_samples(await read_server(server.monitor_url))
        if sample.name == "keda_jobs_nats_certificate_expiry_timestamp_seconds"
    ]
    return (expiry - time.time()) / 86_400


@pytest.mark.parametrize(
    ("replicas", "behind"),
    [
        (None, 0),
        ([{"current": True}, {"current": True}], 0),
        ([{"current": False, "lag": 50}, {"current": True}], 1),
        ([{"current": False, "offline": True}, {"current": True, "offline": True}], 2),
    ],
)
def test_replicas_that_are_offline_or_behind_are_counted(replicas: list[dict[str, object]] | None, behind: int) -> None:
    info = {
        "config": {"name": STREAM, "max_age": 0, "max_bytes": -1},
        "state": {"messages": 0, "bytes": 0},
        "cluster": {"leader": "nats-2", "replicas": replicas},
    }
    assert StreamState.from_info(info).replicas_behind == behind


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


@contextlib.contextmanager
def page_of(answer: object) -> Iterator[str]:
    """Serve `answer` as JSON, whatever is asked, and yield the address."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    with http.server.ThreadingHTTPServer((HOST, 0), Page) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://{HOST}:{server.server_port}"
        server.shutdown()


def dead_letters(numbers: Scraped) -> dict[str, float]:
    """Return the number of dead letters of each job that has some."""
    return {job: found["dead_letters_stored"] for job, found in numbers.jobs.items() if found["dead_letters_stored"]}
