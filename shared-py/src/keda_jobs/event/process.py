"""From the environment to a consuming process, and from SIGTERM to exit 0."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import AsyncExitStack
from typing import Any

from keda_jobs.domain.message import Message
from keda_jobs.errors import BrokerClosed, Misconfigured, StoreUnavailable
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.context import Context
from keda_jobs.event.job import Job
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import Client, connect
from keda_jobs.runtime import health, logs
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.metrics import StoreMetrics
from keda_jobs.runtime.tracing import Tracer, open_tracer
from keda_jobs.settings import JobSettings, StoreSettings, load, shown
from keda_jobs.storage import Bucket

# Longer than any step of a loop that is well: a fetch, a tick, the longest backoff.
_STALLED_S = 60.0

log = logging.getLogger(__name__)


def serve(job: Job) -> int:
    """Run `job` until it is told to stop; the exit code."""
    logs.setup(job.name)
    try:
        settings = load(job.settings)
        logging.getLogger().setLevel(settings.log_level)
        with open_tracer(settings, job.name) as tracer:
            return asyncio.run(_Process(job, settings, tracer).run())
    except Misconfigured as error:
        log.critical("%s", error)
        return 2


class _Process:
    """One running job: what its probes look at, and what a signal ends."""

    def __init__(self, job: Job, settings: JobSettings, tracer: Tracer) -> None:
        self._job = job
        self._settings = settings
        self._tracer = tracer
        self._metrics = EventMetrics(job.name)
        self._metrics.paused.set_function(self._is_paused)
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

    def _is_paused(self) -> bool:
        if self._client is None or self._consumer is None:
            return True
        return self._consumer.is_paused or not self._client.is_connected

    async def _consume(self) -> None:
        settings, job = self._settings, self._job
        async with AsyncExitStack() as stack:
            probes = health.serve(
                settings.http_port, alive=self._alive, ready=self._ready, registry=self._metrics.registry
            )
            log.info("probes and metrics on port %d", await stack.enter_async_context(probes))
            store = await _open_store(stack, settings, self._metrics)
            resources = await stack.enter_async_context(job.resources(settings)) if job.resources else None
            connection = connect(settings, name=job.name, wait=True, on_reconnect=self._metrics.reconnects.inc)
            self._client = await stack.enter_async_context(connection)
            broker = await JetStreamBroker.bind(self._client, f"{job.name}-consumer")
            cpu = CpuPool()

            def context(message: Message) -> Context[Any, Any]:
                return Context(settings, message, cpu, resources, store)

            runner = Runner(job.event, job.handler, context, settings.handler_timeout_s)
            self._consumer = Consumer(job.name, broker, runner, settings, self._metrics, self._tracer)
            log.info("consuming")
            await self._consumer.run()
            log.info("stopped")


async def _open_store(stack: AsyncExitStack, settings: JobSettings, metrics: EventMetrics) -> Bucket | None:
    """The job's bucket, once it has answered: a message is fetched only for a store that can take its result."""
    if not isinstance(settings, StoreSettings):
        return None
    # A job without a store need not load an S3 client.
    from keda_jobs.storage import S3Bucket

    bucket = S3Bucket(settings, connections=settings.concurrency, metrics=StoreMetrics(metrics.registry))
    store = await stack.enter_async_context(bucket)
    backoff = Backoff()
    while True:
        try:
            await store.check()
            return store
        except StoreUnavailable as error:
            backoff.failed(str(error))
            await asyncio.sleep(backoff.remaining_s)
