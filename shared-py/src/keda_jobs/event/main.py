"""Work of an event job's process: connect to the store and NATS, consume, and show it in the probes."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import Any

from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import durable_name
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.job import Context, EventJob
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.retrying import RetryingBucket
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import connect
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.health import serve_probes
from keda_jobs.runtime.metrics import StoreMetrics
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import JobSettings, StoreSettings
from keda_jobs.storage import Bucket

# Longer than any step of a loop that is well: a fetch, a tick, the longest backoff.
_STALLED_S = 60.0

log = logging.getLogger(__name__)


async def consume(job: EventJob, process: Process[JobSettings]) -> None:
    """Consume messages until a shutdown. Raises `BrokerClosed` when the connection is permanently lost."""
    settings = process.settings
    metrics = EventMetrics(job.name)
    state = State(process)
    metrics.paused.set_function(state.is_paused)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            serve_probes(settings.http_port, metrics.registry, alive=state.alive, ready=state.ready)
        )
        store = await _open_store(stack, process, metrics)
        resources = await stack.enter_async_context(job.resources(settings)) if job.resources else None
        nats = await stack.enter_async_context(
            connect(
                settings,
                name=job.name,
                wait=True,
                on_reconnect=metrics.reconnects.inc,
                state=process.trouble.watch(Part()),
            )
        )
        broker = await JetStreamBroker.bind(nats, durable_name(job.name))
        cpu = await stack.enter_async_context(CpuPool())

        def context(message: Message) -> Context[Any, Any]:
            return Context(settings, message, cpu, resources, store)

        runner = Runner(job.event, job.handler, context, settings.handler_timeout_s)
        consumer = Consumer(process, broker, runner, metrics)
        state.consumer = consumer
        process.connected = True
        log.info("consuming")
        await consumer.run()
        log.info("stopped")


class State:
    """State of an event job's process, for probes and metrics."""

    def __init__(self, process: Process[JobSettings]) -> None:
        self.consumer: Consumer | None = None
        self._shutdown = process.shutdown
        self._trouble = process.trouble

    def alive(self) -> str | None:
        """Return why Kubernetes should restart the process, if it should."""
        if self.consumer is not None and self.consumer.idle_s > _STALLED_S:
            return f"the loop has not moved for {self.consumer.idle_s:.0f} s"
        return None

    def ready(self) -> str | None:
        """Return why the process takes no messages, if it takes none."""
        if self._shutdown.requested:
            return "stopping"
        return self._trouble.reason or ("not yet connected" if self.consumer is None else None)

    def is_paused(self) -> bool:
        """Return whether the process waits for NATS or the store."""
        return self.consumer is None or self._trouble.reason is not None


async def _open_store(stack: AsyncExitStack, process: Process[JobSettings], metrics: EventMetrics) -> Bucket | None:
    """Open the job's bucket, and wait until it answers: a message is fetched only when its result can be stored."""
    settings = process.settings
    if not isinstance(settings, StoreSettings):
        return None
    # A job without a store need not load an S3 client.
    from keda_jobs.storage import S3Bucket

    bucket = S3Bucket(settings, connections=settings.concurrency, metrics=StoreMetrics(metrics.registry))
    store = await stack.enter_async_context(bucket)
    backoff = process.trouble.watch(Backoff())
    await retry_until(store.check, backoff, process.shutdown)
    return RetryingBucket(store, backoff, process.shutdown)
