"""Messages per second of a no-op event job, of nats-py alone and of FastStream."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cpu_time
from bounds import TO_FASTSTREAM_DEFAULTS, TO_RAW_NATS
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from results import Baseline, Comparison, Series
from scripts import HERE, Script
from turns import in_turn

from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer, StackError

_CONSUMER = "noop-job-consumer"
_MESSAGES = 60_000
_IN_FLIGHT = 64
# The start, the first fetches and the end of the stream do not count.
_FIRST, _LAST = 500, _MESSAGES - 1000
_WINDOW_S = 3.0
_POLL_S = 0.05
_DEADLINE_S = 30.0

_RAW, _OURS = "raw nats-py", "no-op job"
_DEFAULTS, _DOCUMENTED, _SAME = "FastStream, PullSub()", "FastStream, batch_size=10", "FastStream, batch_size=64"
_NOTE = (
    f"Messages in flight: {_IN_FLIGHT}, but 1 with PullSub(), and 10 with batch_size=10, as FastStream documents. "
    "FastStream does not wait for the confirmation of an ack, the others do. FastStream and the no-op job log a line "
    "for each message."
)


@dataclass(frozen=True, slots=True)
class Sample:
    """Acked messages on the server, with the time and the CPU time until then."""

    acked: int
    at_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Window:
    """Time between two samples."""

    begin: Sample
    end: Sample

    def per_second(self) -> float:
        """Return the messages per second."""
        return (self.end.acked - self.begin.acked) / (self.end.at_s - self.begin.at_s)

    def cpu_us(self) -> float:
        """Return the CPU time of the process for a message in microseconds."""
        return (self.end.cpu_s - self.begin.cpu_s) / (self.end.acked - self.begin.acked) * 1e6


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Comparison]:
    """Measure the rates in messages per second. Raises `StackError`."""
    series = figures("throughput", lambda url: _contestants(url, folder), Window.per_second, folder, rounds, say)
    baselines = [
        Baseline(series[_RAW], TO_RAW_NATS),
        Baseline(series[_DEFAULTS], TO_FASTSTREAM_DEFAULTS),
        Baseline(series[_DOCUMENTED]),
        Baseline(series[_SAME]),
    ]
    return [Comparison("throughput", "messages/s", series[_OURS], baselines, note=_NOTE)]


def figures(
    title: str,
    contestants: Callable[[str], list[Script]],
    figure: Callable[[Window], float],
    folder: Path,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Series]:
    """Measure `figure` of each contestant. They are built for the URL of a server with messages."""
    say(f"{title}: storing {_MESSAGES:,} messages")
    server = NatsServer(folder)
    server.start()
    try:
        return asyncio.run(_figures(title, contestants(server.url), figure, server.url, rounds, say))
    finally:
        server.stop()


def noop_job(name: str, url: str, folder: Path, module: str = "noop_job", **environment: str) -> Script:
    """Build the no-op job as a contestant of that name."""
    settings = {"NATS_URL": url, "CONCURRENCY": str(_IN_FLIGHT), "HTTP_PORT": "0"}
    return Script(name, ["-m", module], folder / f"{name}.log", settings | environment)


def _contestants(url: str, folder: Path) -> list[Script]:
    """Build consumers of the same messages."""
    faststream = [str(HERE / "faststream_app.py"), url]
    return [
        Script(_RAW, [str(HERE / "raw_loop.py"), url, str(_IN_FLIGHT)], folder / "raw.log"),
        noop_job(_OURS, url, folder),
        Script(_DEFAULTS, faststream, folder / "faststream.log"),
        Script(_DOCUMENTED, [*faststream, "10"], folder / "faststream-10.log"),
        Script(_SAME, [*faststream, str(_IN_FLIGHT)], folder / "faststream-64.log"),
    ]


async def _figures(
    title: str,
    contestants: list[Script],
    figure: Callable[[Window], float],
    url: str,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Series]:
    async def turn(contestant: Script) -> float:
        return figure(await _window(client, contestant))

    async with connect(NatsSettings(nats_url=url), name="bench", wait=False) as connection:
        client = connection.client
        await _fill(client)
        turns = {contestant.name: functools.partial(turn, contestant) for contestant in contestants}
        return await in_turn(title, turns, rounds, say)


async def _fill(client: Client) -> None:
    jetstream = client.jetstream()
    subjects = ["ping", "retry.>", "dead-letter"]
    await jetstream.add_stream(StreamConfig(name=STREAM, subjects=subjects, allow_msg_schedules=True))
    for start in range(0, _MESSAGES, 500):
        await asyncio.gather(*(jetstream.publish("ping", b'{"n":%d}' % n) for n in range(start, start + 500)))


async def _window(client: Client, contestant: Script) -> Window:
    """Run `contestant` and return the time between two samples."""
    jetstream = client.jetstream()
    # A plain filter, because FastStream binds by its own subject.
    config = ConsumerConfig(durable_name=_CONSUMER, filter_subject="ping", ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    await jetstream.add_consumer(STREAM, config)
    contestant.launch()
    try:
        begin = await _when(client, contestant, lambda acked: acked >= _FIRST)
        ends = begin.at_s + _WINDOW_S
        end = await _when(client, contestant, lambda acked: acked >= _LAST or time.monotonic() >= ends)
    finally:
        await asyncio.to_thread(contestant.stop)
        await jetstream.delete_consumer(STREAM, _CONSUMER)
    return Window(begin, end)


async def _when(client: Client, contestant: Script, enough: Callable[[int], bool]) -> Sample:
    """Wait until the number of acked messages is enough and return a sample."""
    give_up = time.monotonic() + _DEADLINE_S
    while True:
        info = await client.jetstream().consumer_info(STREAM, _CONSUMER)
        acked = info.ack_floor.stream_seq if info.ack_floor else 0
        if enough(acked):
            cpu_s = cpu_time.of_tree(contestant.pid) if contestant.pid and cpu_time.readable() else 0.0
            return Sample(acked, time.monotonic(), cpu_s)
        if not contestant.alive or time.monotonic() > give_up:
            raise StackError(f"{contestant.name} consumes nothing: {contestant.last_line()} (log: {contestant.log})")
        await asyncio.sleep(_POLL_S)
