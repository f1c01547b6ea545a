"""Trial of an event job: `python -m keda_jobs.event.trial PACKAGE NAME` tries events of standard input.

The handler reads the live objects of its store. What it writes goes below trials/NAME/. The process has no connection
to NATS: it publishes nothing, and says on standard output what the loop would do.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Ack, RetryPolicy
from keda_jobs.domain.trial import TrialEvent, TrialOutcome, trial_prefix
from keda_jobs.errors import Misconfigured
from keda_jobs.event.handler import Context
from keda_jobs.event.job import EventJob
from keda_jobs.event.retrying import RetryingBucket
from keda_jobs.event.runner import Runner, log_bug
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.job import Service
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.start import run
from keda_jobs.settings import JobSettings, StoreSettings
from keda_jobs.storage import Bucket, S3Bucket

# An event of 64 MiB, the most that NATS takes, in base64.
_LONGEST_LINE = 90 * 2**20


class TrialBucket:
    """Bucket whose objects are read as they are. What is written goes below `prefix`."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the live object's bytes, as `Bucket.get`."""
        return await self._bucket.get(key, max_bytes=max_bytes)

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data` below the prefix, as `Bucket.put`."""
        await self._bucket.put(self._prefix + key, data, content_type=content_type)


class _Attempts:
    """One attempt at each event, and its outcome on `answers`."""

    def __init__(self, runner: Runner, settings: JobSettings, job: str, answers: BinaryIO) -> None:
        self._runner = runner
        self._policy = RetryPolicy(settings.retry_max_deliveries, settings.retry_step_s)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._job = job
        self._answers = answers

    async def run(self, lines: asyncio.StreamReader) -> None:
        """Try the events of `lines` until the end, CONCURRENCY of them at once."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                line = await lines.readline()
                if not line:
                    return
                group.create_task(self._attempt(TrialEvent.decode(line)))

    async def _attempt(self, event: TrialEvent) -> None:
        message = Message.from_delivery(event.received(), self._job)
        result = await self._runner.handle(message, event.max_bytes)
        log_bug(result, message)
        decision = self._policy.decide(result, message.attempt)
        events = tuple(one.subject for one in decision.events) if isinstance(decision, Ack) else ()
        self._answers.write(TrialOutcome(event.sequence, decision.outcome, decision.reason, events).encode())
        self._slots.release()


async def _try_events(job: EventJob, prefix: str, channel: tuple[BinaryIO, BinaryIO], process: Process[Any]) -> None:
    """Try the events that come through `channel`. Raises `StoreUnavailable` at the start only."""
    settings, (lines, answers) = process.settings, channel
    async with AsyncExitStack() as stack:
        metrics = StoreMetrics(JobRegistry(job.name))
        bucket = await stack.enter_async_context(S3Bucket(settings, settings.concurrency, metrics))
        await bucket.check()
        backoff = process.trouble.watch(Backoff())
        store = TrialBucket(RetryingBucket(bucket, backoff, process.shutdown), prefix)
        opened = await stack.enter_async_context(job.resources(settings)) if job.resources else None
        cpu = await stack.enter_async_context(CpuPool())

        def context(message: Message) -> Context[Any, Any]:
            return Context(settings, message, cpu, opened, store)

        runner = Runner(job.event, job.handler, context, settings.handler_timeout_s)
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), lines)
        await _Attempts(runner, settings, job.name, answers).run(reader)


def _load(package: str) -> EventJob:
    """Load the job that `package` declares. Raises `Misconfigured`."""
    try:
        job = importlib.import_module(f"{package}.job").JOB
    except (ImportError, AttributeError) as error:
        raise Misconfigured(
            f"{package}.job declares no JOB here ({error}); name the package of an event job"
        ) from error
    if not isinstance(job, EventJob):
        raise Misconfigured(f"{job.name} is no event job; only those read events")
    if job.ends:
        raise Misconfigured(f"{job.name} is a long job; a trial has no progress and no cancellation, so it tries none")
    if not issubclass(job.settings, StoreSettings):
        raise Misconfigured(f"{job.name} has no store, so a trial has no place for its output")
    return job


def _take_over_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Return standard input and output for this module alone. What a handler prints goes to standard error."""
    pipes = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return pipes


def main(package: str, name: str) -> NoReturn:
    """Try events, then exit as a job does: 0 done, 1 platform lost or a bug, 2 misconfigured."""
    channel = _take_over_pipes()
    try:
        job, prefix = _load(package), trial_prefix(name)
    except (Misconfigured, ValueError) as error:
        sys.exit(f"keda-jobs trial: {error}")
    run(Service(job.name, job.settings, partial(_try_events, job, prefix, channel)))


if __name__ == "__main__":
    main(*sys.argv[1:])
