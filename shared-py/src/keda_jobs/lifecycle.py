"""`run`: from the environment to a consuming process, and from SIGTERM to exit 0."""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
import sys
import typing
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, NoReturn

from nats.aio.client import Client

from keda_jobs import health, logs
from keda_jobs.consumer import Consumer
from keda_jobs.context import Context
from keda_jobs.cpu import CpuPool
from keda_jobs.errors import BrokerClosed, Misconfigured, StoreUnavailable
from keda_jobs.events import Event
from keda_jobs.jetstream import JetStreamBroker, connect
from keda_jobs.message import Message
from keda_jobs.metrics import Metrics
from keda_jobs.pause import Pause
from keda_jobs.runner import Runner
from keda_jobs.settings import JobSettings, StoreSettings, load, shown
from keda_jobs.storage import Bucket

# Longer than any step of a loop that is well: a fetch, a tick, the longest pause.
_STALLED_S = 60.0

log = logging.getLogger(__name__)

Handler = Callable[[Any, Any], Any]
Resources = Callable[[Any], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """A job as its handler declares it: name, event and settings come from the handler's package and signature."""

    name: str
    handler: Handler
    event: type[Event]
    settings: type[JobSettings]
    resources: Resources | None = None


def run(handler: Handler, settings: type[JobSettings], *, resources: Resources | None = None) -> NoReturn:
    """Run the job of `handler` until SIGTERM or SIGINT, then exit: 0 drained, 1 lost NATS for good, 2 misconfigured.

    `resources` makes, from the settings, an async context manager that is open while the job runs; its value is
    `Context.resources`.
    """
    job = Job(job_name(handler), handler, event_type(handler), settings, resources)
    logs.setup(job.name)
    try:
        sys.exit(asyncio.run(_Process(job, load(settings)).run()))
    except Misconfigured as error:
        log.critical("%s", error)
        sys.exit(2)


def job_name(handler: Handler) -> str:
    """The handler's top-level package in kebab case: the name of job, consumer, image and manifest."""
    module = sys.modules[handler.__module__]
    package = (module.__package__ if module.__name__ == "__main__" else module.__name__) or module.__name__
    return package.partition(".")[0].replace("_", "-")


def event_type(handler: Handler) -> type[Event]:
    """The event that the handler's first parameter is annotated with. Raises `TypeError` without one."""
    first = next(iter(inspect.signature(handler).parameters), "")
    event = typing.get_type_hints(handler).get(first)
    if not (isinstance(event, type) and issubclass(event, Event)):
        raise TypeError(f"the first parameter of {handler.__qualname__} must be annotated with its Event")
    return event


class _Process:
    """One running job: what its probes look at, and what a signal ends."""

    def __init__(self, job: Job, settings: JobSettings) -> None:
        self._job = job
        self._settings = settings
        self._metrics = Metrics(job.name)
        self._client: Client | None = None
        self._consumer: Consumer | None = None

    async def run(self) -> int:
        """The exit code."""
        log.info("settings: %s", shown(self._settings))
        main = asyncio.create_task(self._consume())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, main)
        try:
            await main
        except asyncio.CancelledError:
            log.info("stopped before it was connected")
        except BrokerClosed as error:
            log.critical("%s", error)
            return 1
        return 0

    def _stop(self, main: asyncio.Task[None]) -> None:
        if self._consumer is None:
            main.cancel()
        else:
            self._consumer.stop()

    def _alive(self) -> str | None:
        if self._consumer is not None and self._consumer.idle_s > _STALLED_S:
            return f"the loop has not moved for {self._consumer.idle_s:.0f} s"
        return None

    def _ready(self) -> str | None:
        if self._client is None or self._consumer is None:
            return "not yet connected to NATS"
        if self._consumer.stopping:
            return "stopping"
        return None if self._client.is_connected else "reconnecting to NATS"

    async def _consume(self) -> None:
        settings, job = self._settings, self._job
        async with AsyncExitStack() as stack:
            probes = health.serve(
                settings.http_port, alive=self._alive, ready=self._ready, registry=self._metrics.registry
            )
            log.info("probes and metrics on port %d", await stack.enter_async_context(probes))
            store = await _open_store(stack, settings)
            resources = await stack.enter_async_context(job.resources(settings)) if job.resources else None
            self._client = await stack.enter_async_context(connect(settings, name=job.name, wait=True))
            broker = await JetStreamBroker.bind(self._client, f"{job.name}-consumer")
            cpu = CpuPool()

            def context(message: Message) -> Context[Any, Any]:
                return Context(settings, message, cpu, resources, store)

            runner = Runner(job.event, job.handler, context, settings.handler_timeout_s)
            self._consumer = Consumer(job.name, broker, runner, settings, self._metrics)
            log.info("consuming")
            await self._consumer.run()
            log.info("stopped")


async def _open_store(stack: AsyncExitStack, settings: JobSettings) -> Bucket | None:
    """The job's bucket, once it has answered: a message is fetched only for a store that can take its result."""
    if not isinstance(settings, StoreSettings):
        return None
    # A job without a store need not load an S3 client.
    from keda_jobs.storage import S3Bucket

    store = await stack.enter_async_context(S3Bucket(settings, connections=settings.concurrency))
    pause = Pause()
    while True:
        try:
            await store.check()
            return store
        except StoreUnavailable as error:
            pause.trouble(str(error))
            await asyncio.sleep(pause.left_s)
