"""Messages per second of a no-op event job, beside nats-py alone and FastStream, in turn in one run."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from keda_jobs.jetstream import STREAM, connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer

HERE = Path(__file__).parent
CONSUMER = "noop-job-consumer"
IN_HAND = 64


def contestants(url: str) -> dict[str, list[str]]:
    """The commands that consume the same messages, each with the same number in hand."""
    return {
        "raw nats-py": [sys.executable, str(HERE / "raw_loop.py"), url, str(IN_HAND)],
        "keda-jobs": [sys.executable, "-m", "noop_job"],
        "FastStream": [sys.executable, str(HERE / "faststream_app.py"), url, str(IN_HAND)],
    }


async def rates(folder: Path, messages: int, rounds: int) -> Mapping[str, list[float]]:
    """Messages per second of each contestant, one figure a round."""
    server = NatsServer(folder)
    server.start()
    measured: dict[str, list[float]] = {name: [] for name in contestants(server.url)}
    try:
        async with connect(NatsSettings(nats_url=server.url), name="bench", wait=False) as client:
            for _ in range(rounds):
                for name, command in contestants(server.url).items():
                    await _fill(client, messages)
                    measured[name].append(await _drained(client, command, server.url, folder / f"{name}.log", messages))
    finally:
        server.stop()
    return measured


async def _fill(client: Client, messages: int) -> None:
    jetstream = client.jetstream()
    if STREAM in {info.config.name for info in await jetstream.streams_info()}:
        await jetstream.delete_stream(STREAM)
    await jetstream.add_stream(
        StreamConfig(name=STREAM, subjects=["ping", "retry.>", "dead-letter"], allow_msg_schedules=True)
    )
    # A plain filter, because FastStream binds by its own subject.
    await jetstream.add_consumer(
        STREAM, ConsumerConfig(durable_name=CONSUMER, filter_subject="ping", ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    )
    for start in range(0, messages, 500):
        await asyncio.gather(*(jetstream.publish("ping", b'{"n":%d}' % n) for n in range(start, start + 500)))


async def _drained(client: Client, command: list[str], url: str, log: Path, messages: int) -> float:
    """Messages per second between the tenth and the last tenth, so that neither start nor end counts."""
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"NATS_URL": url, "CONCURRENCY": str(IN_HAND), "HTTP_PORT": "0", "PYTHONPATH": path}
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=output, stderr=output)
        try:
            first, begun = await _when(client, process, log, lambda acked: acked >= messages // 10)
            last, ended = await _when(client, process, log, lambda acked: acked >= messages - messages // 10)
        finally:
            process.terminate()
            await process.wait()
    return (last - first) / (ended - begun)


async def _when(client: Client, process: Process, log: Path, enough: Callable[[int], bool]) -> tuple[int, float]:
    async with asyncio.timeout(120):
        while True:
            info = await client.jetstream().consumer_info(STREAM, CONSUMER)
            acked = (info.ack_floor and info.ack_floor.stream_seq) or 0
            if enough(acked):
                return acked, time.monotonic()
            if process.returncode is not None:
                raise SystemExit(f"bench: a consumer ended with {process.returncode}; see {log}")
            await asyncio.sleep(0.02)
