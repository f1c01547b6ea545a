"""Messages per second of a no-op event job, beside nats-py alone and FastStream, in turn in one run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from bounds import TO_FASTSTREAM_DEFAULTS, TO_RAW_NATS
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from results import Baseline, Comparison, Series
from scripts import HERE, Script

from keda_jobs.jetstream import STREAM, connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer, StackError

_CONSUMER = "noop-job-consumer"
_MESSAGES = 60_000
_IN_HAND = 64
# Start-up and first fetches do not count; neither does the end of the stream, for those who get that far.
_FIRST, _LAST = 500, _MESSAGES - 1000
_WINDOW_S = 3.0
_POLL_S = 0.05
_DEADLINE_S = 30.0

_RAW, _OURS = "raw nats-py", "no-op job"
_DEFAULTS, _DOCUMENTED, _SAME = "FastStream, PullSub()", "FastStream, batch_size=10", "FastStream, batch_size=64"
_NOTE = (
    f"Messages in hand: {_IN_HAND}, but 1 with PullSub(), and 10 with batch_size=10, which FastStream's documentation "
    "shows. FastStream acks without waiting for the server's word, the others wait. FastStream and the no-op job log "
    "a line a message."
)


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Comparison]:
    """The rates, in messages per second. Raises `StackError`."""
    say(f"throughput: storing {_MESSAGES:,} messages")
    server = NatsServer(folder)
    server.start()
    try:
        rates = asyncio.run(_rates(_contestants(server.url, folder), server.url, rounds, say))
    finally:
        server.stop()
    series = {name: Series(name, tuple(values)) for name, values in rates.items()}
    baselines = [
        Baseline(series[_RAW], TO_RAW_NATS),
        Baseline(series[_DEFAULTS], TO_FASTSTREAM_DEFAULTS),
        Baseline(series[_DOCUMENTED]),
        Baseline(series[_SAME]),
    ]
    return [Comparison("throughput", "messages/s", series[_OURS], baselines, note=_NOTE)]


def _contestants(url: str, folder: Path) -> list[Script]:
    """Consumers of the same messages."""
    faststream = [str(HERE / "faststream_app.py"), url]
    settings = {"NATS_URL": url, "CONCURRENCY": str(_IN_HAND), "HTTP_PORT": "0"}
    return [
        Script(_RAW, [str(HERE / "raw_loop.py"), url, str(_IN_HAND)], folder / "raw.log"),
        Script(_OURS, ["-m", "noop_job"], folder / "noop-job.log", settings),
        Script(_DEFAULTS, faststream, folder / "faststream.log"),
        Script(_DOCUMENTED, [*faststream, "10"], folder / "faststream-10.log"),
        Script(_SAME, [*faststream, str(_IN_HAND)], folder / "faststream-64.log"),
    ]


async def _rates(
    contestants: list[Script], url: str, rounds: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {contestant.name: [] for contestant in contestants}
    async with connect(NatsSettings(nats_url=url), name="bench", wait=False) as client:
        await _fill(client)
        for round_ in range(1, rounds + 1):
            for contestant in contestants:
                say(f"throughput: round {round_} of {rounds}, {contestant.name}")
                rates[contestant.name].append(await _rate(client, contestant))
    return rates


async def _fill(client: Client) -> None:
    jetstream = client.jetstream()
    subjects = ["ping", "retry.>", "dead-letter"]
    await jetstream.add_stream(StreamConfig(name=STREAM, subjects=subjects, allow_msg_schedules=True))
    for start in range(0, _MESSAGES, 500):
        await asyncio.gather(*(jetstream.publish("ping", b'{"n":%d}' % n) for n in range(start, start + 500)))


async def _rate(client: Client, contestant: Script) -> float:
    """Messages per second that the server has noted as acked, over the window."""
    jetstream = client.jetstream()
    # A plain filter, because FastStream binds by its own subject.
    config = ConsumerConfig(durable_name=_CONSUMER, filter_subject="ping", ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    await jetstream.add_consumer(STREAM, config)
    contestant.launch()
    try:
        first, begun = await _when(client, contestant, lambda acked: acked >= _FIRST)
        ends = begun + _WINDOW_S
        last, ended = await _when(client, contestant, lambda acked: acked >= _LAST or time.monotonic() >= ends)
    finally:
        await asyncio.to_thread(contestant.stop)
        await jetstream.delete_consumer(STREAM, _CONSUMER)
    return (last - first) / (ended - begun)


async def _when(client: Client, contestant: Script, enough: Callable[[int], bool]) -> tuple[int, float]:
    """How many messages are acked, and the time, as soon as they are enough."""
    gives_up = time.monotonic() + _DEADLINE_S
    while True:
        info = await client.jetstream().consumer_info(STREAM, _CONSUMER)
        acked = info.ack_floor.stream_seq if info.ack_floor else 0
        if enough(acked):
            return acked, time.monotonic()
        if not contestant.alive or time.monotonic() > gives_up:
            raise StackError(f"{contestant.name} consumes nothing: {contestant.last_line()} (log: {contestant.log})")
        await asyncio.sleep(_POLL_S)
