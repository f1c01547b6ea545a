"""CPU time for a picture in both image jobs and in a bare script that fetches and shrinks."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import cpu_time
from bounds import CPU_TO_BARE
from nats.aio.client import Client
from photographs import SIZE, photographs
from results import Baseline, Comparison, Series
from scripts import HERE, Script

from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import FREE_PORTS, JobProcess, LocalStack, StackError, free_port, until
from stack.ports import HOST
from stack.servers import http_status

_OURS, _BARE = "both jobs", "bare aiohttp + Pillow"
_JOBS = ("image-download", "image-resize")
# Enough for every worker process to have started.
_WARM_UP = 10
_PICTURES = 210
_DEADLINE_S = 60.0
_NOTE = (
    f"User and system time for a {SIZE[0]}×{SIZE[1]} JPEG, of the jobs with their worker processes. "
    f"The first {_WARM_UP} pictures and the NATS, S3 and web servers do not count. The bare script stores nothing."
)


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Comparison]:
    """Measure the CPU times in milliseconds. Raises `StackError`."""
    if not cpu_time.readable():
        raise StackError("pictures: CPU times need Linux's /proc; run --only throughput instead")
    say(f"pictures: drawing {_PICTURES} photographs, starting NATS, S3 and the jobs")
    with ExitStack() as resources:
        origin = Origin(_drawn(folder / "originals"), folder / "origin.log")
        resources.callback(origin.stop)
        origin.start()
        stack = resources.enter_context(LocalStack(folder, FREE_PORTS, {"DOWNLOAD_ALLOW_ADDRESSES": origin.address}))
        urls = [origin.url(f"{number}.jpg") for number in range(_PICTURES)]
        bare = Script(_BARE, [str(HERE / "bare_pictures.py"), str(_WARM_UP), *urls], folder / "bare.log")
        times = asyncio.run(_times(stack, bare, urls, rounds, say))
    parts = [Series(job, tuple(times[job])) for job in _JOBS]
    ours = Series(_OURS, tuple(map(sum, zip(*(part.values for part in parts), strict=True))))
    baseline = Baseline(Series(_BARE, tuple(times[_BARE])), CPU_TO_BARE)
    return [Comparison("pictures", "CPU ms/picture", ours, [baseline], parts, _NOTE)]


class Origin(Script):
    """Web server of the pictures."""

    def __init__(self, folder: Path, log: Path) -> None:
        port = free_port()
        super().__init__("origin", [str(HERE / "origin.py"), str(folder), str(port)], log)
        self.address = f"{HOST}:{port}"

    def url(self, name: str) -> str:
        """Return the URL of the file `name`."""
        return f"http://{self.address}/{name}"

    def answers(self) -> bool:
        return http_status(self.url("")) is not None


def _drawn(folder: Path) -> Path:
    folder.mkdir()
    for number, picture in enumerate(photographs(_PICTURES)):
        (folder / f"{number}.jpg").write_bytes(picture)
    return folder


async def _times(
    stack: LocalStack, bare: Script, urls: Sequence[str], rounds: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """Measure the milliseconds for a picture in each job and in the bare script, once in each round."""
    times: dict[str, list[float]] = {name: [] for name in (*_JOBS, bare.name)}
    async with connect(NatsSettings(nats_url=stack.nats.url), name="bench", wait=False) as connection:
        client = connection.client
        for round_ in range(1, rounds + 1):
            say(f"pictures: round {round_} of {rounds}, {' and '.join(_JOBS)}")
            await _send_through(client, urls[:_WARM_UP])
            before = _cpu_s(stack.jobs)
            await _send_through(client, urls[_WARM_UP:])
            after = _cpu_s(stack.jobs)
            say(f"pictures: round {round_} of {rounds}, {bare.name}")
            spent = {job: after[job] - before[job] for job in _JOBS}
            spent[bare.name] = await asyncio.to_thread(_bare_cpu_s, bare)
            for name, cpu_s in spent.items():
                times[name].append(1000 * cpu_s / (len(urls) - _WARM_UP))
    return times


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


def _cpu_s(jobs: Sequence[JobProcess]) -> dict[str, float]:
    ended = [job for job in jobs if job.pid is None]
    if ended:
        raise StackError(f"pictures: {ended[0].name} ended: {ended[0].last_line()}")
    return {job.name: cpu_time.of_tree(job.pid) for job in jobs if job.pid is not None}


def _bare_cpu_s(script: Script) -> float:
    script.start()
    try:
        script.wait(_DEADLINE_S)
        return float(script.last_line())
    except (ValueError, subprocess.TimeoutExpired):
        raise StackError(f"pictures: {script.name} gave no result: {script.last_line()} (log: {script.log})") from None
    finally:
        script.stop()
