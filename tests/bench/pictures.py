"""CPU time for a picture in both image jobs and in a bare script that fetches and shrinks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from functools import partial

import processes
from nats.aio.client import Client
from photographs import SIZE, draw
from results import Bound, Comparison
from running import Bench, Script, run_together, started

from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import FREE_PORTS, JobProcess, LocalStack, StackError, free_port, until
from stack.ports import HOST
from stack.servers import http_status

_OURS, _BARE = "both jobs", "bare aiohttp + Pillow"
# Ours is at 2.1. The rest is room for a busy machine.
_BOUNDS = {_BARE: Bound(most=3.0)}
_JOBS = ("image-download", "image-resize")
# Enough for every worker process to have started.
_WARM_UP = 10
_PICTURES = 210
_DEADLINE_S = 60.0
_NOTE = (
    f"User and system time for a {SIZE[0]}×{SIZE[1]} JPEG, of the jobs with their worker processes. "
    f"The first {_WARM_UP} pictures and the NATS, S3 and web servers do not count. The bare script stores nothing."
)


async def measure(bench: Bench) -> list[Comparison]:
    """Measure the CPU times in milliseconds. Raises `StackError`."""
    processes.require_proc("pictures")
    bench.say(f"pictures: drawing {_PICTURES} photographs, starting NATS, S3 and the jobs")
    originals = bench.folder / "originals"
    await asyncio.to_thread(draw, _PICTURES, originals)
    address = f"{HOST}:{free_port()}"
    urls = [f"http://{address}/{number}.jpg" for number in range(_PICTURES)]
    async with (
        started(bench.script("origin", "web_server", address.rpartition(":")[2], originals)),
        started(LocalStack(bench.folder, FREE_PORTS, {"DOWNLOAD_ALLOW_ADDRESSES": address})) as stack,
    ):
        await until(lambda: http_status(urls[0]))
        async with connect(NatsSettings(nats_url=stack.nats.url), name="bench", wait=False) as connection:
            bare = bench.script(_BARE, "bare_pictures", _WARM_UP, *urls)
            jobs = [job for job in stack.jobs if job.name in _JOBS]
            turns = {_OURS: partial(_by_jobs, connection.client, jobs, urls), _BARE: partial(_by_script, bare)}
            cpu_s = await bench.in_turns("pictures", turns)
    each = 1000 / (_PICTURES - _WARM_UP)
    figures = {name: [sum(seconds) * each for seconds in rounds] for name, rounds in cpu_s.items()}
    parts = {job: [seconds[index] * each for seconds in cpu_s[_OURS]] for index, job in enumerate(_JOBS)}
    return [Comparison("pictures", "CPU ms/picture", figures, _BOUNDS, _NOTE, parts)]


async def _by_script(script: Script) -> list[float]:
    await run_together(script)
    return script.figures()


async def _by_jobs(client: Client, jobs: Sequence[JobProcess], urls: Sequence[str]) -> list[float]:
    """Return the CPU seconds of each job."""
    await _send_through(client, urls[:_WARM_UP])
    before = [processes.cpu_s(job.pid) for job in jobs]
    await _send_through(client, urls[_WARM_UP:])
    for job in jobs:
        job.raise_if_exited()
    return [processes.cpu_s(job.pid) - earlier for job, earlier in zip(jobs, before, strict=True)]


async def _send_through(client: Client, urls: Sequence[str]) -> None:
    """Send the pictures through both jobs. Raises `StackError` unless all come out."""
    jetstream = client.jetstream()
    for url in urls:
        await jetstream.publish("image-download", json.dumps({"url": url}).encode())
    # In this order: a job acks its event after the event for the next job is stored.
    for job in _JOBS:
        try:
            await until(partial(_settled, client, job), _DEADLINE_S)
        except TimeoutError:
            raise StackError(f"pictures: {job} was not done within {_DEADLINE_S:g} s") from None
    counts = (await jetstream.stream_info(STREAM, subjects_filter=">")).state.subjects or {}
    failed = any(subject.startswith(("retry.", "dead-letter")) for subject in counts)
    if failed or counts["image-downloaded"] != counts["image-download"]:
        raise StackError(f"pictures: not all came out, the stream holds {counts}")


async def _settled(client: Client, job: str) -> bool:
    info = await client.jetstream().consumer_info(STREAM, f"{job}-consumer")
    return (info.num_pending, info.num_ack_pending) == (0, 0)
