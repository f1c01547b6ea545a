"""What anybody publishes comes back from its dead letter to the byte, through the real loop of a job."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keda_jobs.domain.event import Event
from keda_jobs.errors import Permanent
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import connect
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings, NatsSettings
from stack import NatsServer, publish_raw, until

from .conftest import STREAM, Cli, Server

JOB = "image-download"
DUE = f"retry.due.{JOB}"
EMPTY = b"NATS/1.0\r\n\r\n"
EXACT = [
    b"1e400",
    b'{"url": 1.10}',
    b' {"a": 1,\r\n"a": 2}\t',
    b'{"a":1, "b" : "\\u00e9\\/\\ud83d\\ude00"}\n',
    b"\xef\xbb\xbf{}",
    b'"\\ud800"',
    b"9" * 5000,
    b"[" * 5000,
    b"[" * 500 + b"]" * 500,
    b"NaN",
    b"",
    b"\x00\x1b[2J",
    b"\xff\\xff\\\\xff \\ud800 \xed\xa0\x80",
    b'1,"num_delivered":3}',
    b'{"subject":"x","data":1,"num_delivered":3}',
    b"\xc3\xa9" * 60_000,
    bytes(range(256)) * 300,
]
BODIES = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(str.encode),
    st.text('{}[]",:\\u d8x0.1eE-\n\xe9', max_size=30).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=8,
    ).map(lambda value: json.dumps(value, ensure_ascii=False, indent=1).encode(errors="surrogatepass")),
)


class Refused(Event, subject=JOB):
    """Event that the handler refuses. Any object is one."""


async def refuse(_event: Refused, _job: object) -> None:
    raise Permanent("refused")


def publish(nats_server: NatsServer, *events: bytes) -> None:
    assert asyncio.run(publish_raw(nats_server, JOB, [(EMPTY, body) for body in events])) == []


def die(server: Server, count: int) -> None:
    """Run the loop of the job until it has made dead letters of `count` events."""

    async def run() -> None:
        async with connect(NatsSettings(nats_url=server.url), name=JOB, wait=False) as connection:
            broker = await JetStreamBroker.bind(connection, f"{JOB}-consumer", fetch_s=0.2)
            process = Process(JOB, JobSettings())
            runner = Runner(Refused, refuse, lambda message: message, 10)
            running = asyncio.create_task(Consumer(process, broker, runner, EventMetrics(JOB, process.settings)).run())

            async def all_dead() -> bool:
                return await asyncio.to_thread(server.count, "dead-letter") == count

            await until(all_dead)
            process.shutdown.request()
            await running

    asyncio.run(run())


def bodies(server: Server, subject: str, count: int) -> Counter[bytes]:
    server.wait_for(lambda: server.count(subject) >= count)
    return Counter(message.data or b"" for message in server.stored(subject))


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(BODIES, min_size=1, max_size=20), st.booleans())
@example(EXACT, False)
@example(EXACT, True)
def test_a_replay_gives_back_the_bytes_that_were_published(
    cli: Cli, server: Server, nats_server: NatsServer, published: list[bytes], to_subject: bool
) -> None:
    server.api(f"STREAM.PURGE.{STREAM}", {})
    publish(nats_server, *published)
    die(server, len(published))
    server.api(f"STREAM.PURGE.{STREAM}", {"filter": JOB})

    done = cli("dlq", "replay", "--all", *(["--to-subject"] if to_subject else []))

    assert done.code == 0, done.stderr
    assert bodies(server, JOB if to_subject else DUE, len(published)) == Counter(published)
    assert server.count("dead-letter") == 0


LARGE = b"\xff" * 400_000


def test_what_does_not_fit_is_taken_from_the_stream(cli: Cli, server: Server, nats_server: NatsServer) -> None:
    publish(nats_server, LARGE)
    die(server, 1)

    assert cli("dlq", "replay", "--all").code == 0
    assert bodies(server, DUE, 1) == Counter([LARGE])


def test_what_is_in_the_stream_no_more_is_refused_with_the_reason(
    cli: Cli, server: Server, nats_server: NatsServer
) -> None:
    publish(nats_server, LARGE)
    die(server, 1)
    server.api(f"STREAM.PURGE.{STREAM}", {"filter": JOB})

    done = cli("dlq", "replay", "--all", "--json")

    assert done.code == 1
    (skipped,) = done.json["skipped"]
    assert "it does not hold the exact event" in skipped["reason"]
    assert (server.count(DUE), server.count("dead-letter")) == (0, 1)


HEADERS = [
    b"Trace: \xc3\xa9t\xc3\xa9",
    b"Trace: \xe9",
    b"Trace: \x00\x1b[2J",
    b"Trace: =?utf-8?b?w6k=?=",
    b"Status: 503",
    b"Description: x\r\nStatus: 404",
    b"Nats-Sequence: x\r\nNats-Subject: y\r\nNats-Time-Stamp: z",
    b"Keda-Jobs-Data: truncated\r\nKeda-Jobs-Sequence: 99999999999999999999",
]


@pytest.mark.parametrize("header", HEADERS)
def test_every_command_takes_any_header(cli: Cli, server: Server, nats_server: NatsServer, header: bytes) -> None:
    block = b"NATS/1.0\r\n" + header + b"\r\n\r\n"
    assert asyncio.run(publish_raw(nats_server, JOB, [(block, b"{}"), (EMPTY, b"{}")])) == []
    die(server, 2)
    first, second = sorted(dead["sequence"] for dead in cli("dlq", "ls", "--json").json)

    assert cli("dlq", "count", "--json").json["total"] == 2
    assert "2 dead letters" in cli("dlq", "ls").stderr
    for sequence in (first, second):
        assert cli("dlq", "show", str(sequence)).code == 0
        assert cli("dlq", "show", str(sequence), "--json").json["sequence"] == sequence
    assert cli("dlq", "purge", str(second), "--yes").code == 0
    assert cli("dlq", "replay", str(first), "--to-subject").code == 0
    assert [message.data for message in server.stored(JOB)] == [b"{}"] * 3
