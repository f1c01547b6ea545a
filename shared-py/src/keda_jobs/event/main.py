"""Work of an event job's process: connect to the store and NATS, consume, and show it in the probes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import durable_name
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.handler import Context, Handler, event_type
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.retrying import RetryingBucket
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.cpu import Cpu, CpuPool
from keda_jobs.runtime.health import serve_probes
from keda_jobs.runtime.job import Resources
from keda_jobs.runtime.metrics import StoreMetrics
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import JobSettings, StoreSettings
from keda_jobs.storage import Bucket

# Longer than any step of a loop that is well: a fetch, a tick, the longest backoff.
_STALLED_S = 60.0

log = logging.getLogger(__name__)


async def consume(process: Process[JobSettings], handler: Handler, resources: Resources | None) -> None:
    """Run `handler` on messages until a shutdown. Raises `BrokerClosed` when the connection is permanently lost."""
    async with open_session(process, resources) as session:
        await session.run(Consumer, handler, session.context)


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


@dataclass(frozen=True, slots=True)
class Session:
    """Connections of a process that works on messages, and what its handler gets."""

    process: Process[JobSettings]
    metrics: EventMetrics
    state: State
    nats: NatsConnection
    store: Bucket | None
    resources: Any
    cpu: Cpu

    def context(self, message: Message) -> Context[Any, Any]:
        """Build the context of one attempt."""
        return Context(self.process.settings, message, self.cpu, self.resources, self.store)

    async def run(self, kind: type[Consumer], handler: Handler, context: Callable[[Message], Any]) -> None:
        """Run `handler` on messages until the consumer of that kind has ended. Raises `BrokerClosed`."""
        process = self.process
        broker = await JetStreamBroker.bind(self.nats, durable_name(process.name))
        runner = Runner(event_type(handler), handler, context, process.settings.handler_timeout_s)
        self.state.consumer = consumer = kind(process, broker, runner, self.metrics)
        process.connected = True
        log.info("consuming")
        await consumer.run()
        log.info("stopped")


@asynccontextmanager
async def open_session(process: Process[JobSettings], resources: Resources | None) -> AsyncIterator[Session]:
    """Serve the probes, and connect to the store and NATS."""
    settings = process.settings
    metrics = EventMetrics(process.name, settings)
    state = State(process)
    metrics.paused.set_function(state.is_paused)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(
            serve_probes(settings.http_port, metrics.registry, alive=state.alive, ready=state.ready)
        )
        store = await _open_store(stack, process, metrics)
        opened = await stack.enter_async_context(resources(settings)) if resources else None
        connection_state = process.trouble.watch(Part())
        metrics.watch_nats(connection_state)
        nats = await stack.enter_async_context(
            connect(
                settings,
                name=process.name,
                wait=True,
                on_reconnect=metrics.reconnects.inc,
                state=connection_state,
            )
        )
        cpu = await stack.enter_async_context(CpuPool())
        yield Session(process, metrics, state, nats, store, opened, cpu)


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
