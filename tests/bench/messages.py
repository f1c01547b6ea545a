"""No-op event job: messages per second, compared with nats-py alone and FastStream, and cost of metrics and traces."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import processes
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from results import Bound, Comparison
from running import Bench, Script, started

from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, StackError, free_port
from stack.streams import declaration_for

_CONSUMER = "noop-job-consumer"
_MESSAGES = 60_000
_IN_FLIGHT = 64
# The start, the first fetches and the end of the stream do not count.
_FIRST, _LAST = 500, _MESSAGES - 1000
_WINDOW_S = 3.0
_POLL_S = 0.05
_DEADLINE_S = 30.0

_OURS, _RAW, _DEFAULTS = "no-op job", "raw nats-py", "FastStream, PullSub()"
_BOUNDS = {_RAW: Bound(least=0.6), _DEFAULTS: Bound(least=2)}
_NOTE = (
    f"Messages in flight: {_IN_FLIGHT}, but 1 with PullSub(), and 10 with batch_size=10, as FastStream documents. "
    "FastStream does not wait for the confirmation of an ack, the others do. FastStream and the no-op job log a line "
    "for each message."
)

_UNMETERED, _SAMPLED, _TRACED = "no metrics", "traces, 1 % of them", "traces, all"
# Ours is at 0.99 to 1.04. The rest is room for a busy machine.
_TO_UNMETERED = Bound(most=1.2)
_OVERHEAD_NOTE = (
    "The no-op job has metrics and a log line for each message. With traces it makes a span for each message and sends "
    "the sampled ones to a collector on this machine. A full queue (2048 spans) drops further ones."
)


class Reading(NamedTuple):
    """Acked messages, clock, and CPU time of a contestant: at a moment or between two."""

    acked: float
    seconds: float
    cpu_s: float


async def measure_throughput(bench: Bench) -> list[Comparison]:
    """Measure the rates in messages per second. Raises `StackError`."""

    def contestants(url: str) -> list[Script]:
        return [
            noop_job(bench, _OURS, url),
            bench.script(_RAW, "raw_loop", url, _IN_FLIGHT),
            bench.script(_DEFAULTS, "faststream_app", url),
            *(bench.script(f"FastStream, batch_size={size}", "faststream_app", url, size) for size in (10, _IN_FLIGHT)),
        ]

    readings = await measure(bench, "throughput", contestants)
    rates = {name: [reading.acked / reading.seconds for reading in turns] for name, turns in readings.items()}
    return [Comparison("throughput", "messages/s", rates, _BOUNDS, _NOTE)]


async def measure_overhead(bench: Bench) -> list[Comparison]:
    """Measure the CPU time of a message, exporter included, in microseconds. Raises `StackError`."""
    processes.require_proc("overhead")
    port = free_port()
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    sampled = traces | {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}

    def contestants(url: str) -> list[Script]:
        return [
            noop_job(bench, _UNMETERED, url, "noop_job.unmetered"),
            noop_job(bench, _OURS, url),
            noop_job(bench, _SAMPLED, url, **sampled),
            noop_job(bench, _TRACED, url, **traces),
        ]

    async with started(bench.script("collector", "web_server", port, bench.folder)):
        readings = await measure(bench, "overhead", contestants)
    cpu_us = {name: [1e6 * reading.cpu_s / reading.acked for reading in turns] for name, turns in readings.items()}
    return [
        Comparison(title, "CPU µs/message", {name: cpu_us[name] for name in pair}, bounds, note)
        for title, pair, bounds, note in (
            ("metrics", (_OURS, _UNMETERED), {_UNMETERED: _TO_UNMETERED}, ""),
            ("sampled traces", (_SAMPLED, _OURS), {}, ""),
            ("traces", (_TRACED, _OURS), {}, _OVERHEAD_NOTE),
        )
    ]


def noop_job(bench: Bench, name: str, url: str, module: str = "noop_job", **environment: str) -> Script:
    """Build the no-op job as a contestant of that name."""
    return bench.script(name, module, NATS_URL=url, CONCURRENCY=str(_IN_FLIGHT), HTTP_PORT="0", **environment)


async def measure(bench: Bench, title: str, contestants: Callable[[str], list[Script]]) -> dict[str, list[Reading]]:
    """Measure contestants, which are built for the URL of a server with messages."""
    bench.say(f"{title}: storing {_MESSAGES:,} messages")
    async with (
        started(NatsServer(bench.folder)) as server,
        connect(NatsSettings(nats_url=server.url), name="bench", wait=False) as connection,
    ):
        await apply(connection, declaration_for({}, ["ping"]))
        await _fill(connection.client)
        turns = {script.name: partial(_turn, connection.client, script) for script in contestants(server.url)}
        return await bench.in_turns(title, turns)


async def _fill(client: Client) -> None:
    jetstream = client.jetstream()
    for start in range(0, _MESSAGES, 500):
        await asyncio.gather(*(jetstream.publish("ping", b'{"n":%d}' % n) for n in range(start, start + 500)))


async def _turn(client: Client, contestant: Script) -> Reading:
    """Run `contestant` and return what it did between two readings."""
    jetstream = client.jetstream()
    # A plain filter, because FastStream binds by its own subject.
    config = ConsumerConfig(durable_name=_CONSUMER, filter_subject="ping", ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    await jetstream.add_consumer(STREAM, config)
    async with started(contestant):
        begin = await _read_when(client, contestant, lambda acked: acked >= _FIRST)
        ends = begin.seconds + _WINDOW_S
        end = await _read_when(client, contestant, lambda acked: acked >= _LAST or time.monotonic() >= ends)
    await jetstream.delete_consumer(STREAM, _CONSUMER)
    return Reading(*(after - before for before, after in zip(begin, end, strict=True)))


async def _read_when(client: Client, contestant: Script, enough: Callable[[int], bool]) -> Reading:
    """Wait until the number of acked messages is enough and return a reading."""
    give_up = time.monotonic() + _DEADLINE_S
    while True:
        info = await client.jetstream().consumer_info(STREAM, _CONSUMER)
        acked = info.ack_floor.stream_seq if info.ack_floor else 0
        if enough(acked):
            return Reading(acked, time.monotonic(), processes.cpu_s(contestant.pid))
        if not contestant.alive or time.monotonic() > give_up:
            raise StackError(f"{contestant.name} consumes nothing: {contestant.last_line()} (log: {contestant.log})")
        await asyncio.sleep(_POLL_S)
