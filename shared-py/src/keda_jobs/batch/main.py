"""Work of a batch worker's process: connect to the servers, claim and run rows, and show it in the probes."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack

from keda_jobs.batch.batch_run import WRITERS
from keda_jobs.batch.chunk_runner import make_runner
from keda_jobs.batch.handler import BatchContext, RowHandler
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.row_events import RowEvents, open_row_events
from keda_jobs.batch.row_runner import MAX_EVENT_BYTES
from keda_jobs.batch.worker import Worker
from keda_jobs.claims.queue import ClaimQueue
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.postgres import open_pool
from keda_jobs.runtime.backoff import SHORT_S, Backoff, retry_until
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.health import serve_probes
from keda_jobs.runtime.job import Resources
from keda_jobs.runtime.process import Process
from keda_jobs.settings import BatchSettings, NatsSettings

# A claimed row is about five small objects without a circle among them. Python's default, to look for circles after
# every 700 new ones, takes as long as all else the loop does for a row. So it looks when there are more new objects
# than the rows of a worker are, which is when a handler leaves circles.
_LEAST_OBJECTS_BEFORE_GC = 50_000
_OBJECTS_BEFORE_GC_PER_ROW = 8

log = logging.getLogger(__name__)


async def work(
    process: Process[BatchSettings], table: ClaimTable, handler: RowHandler, resources: Resources | None
) -> None:
    """Claim rows of `table` and run `handler` on them until none is claimable.

    Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S.
    """
    settings, shutdown = process.settings, process.shutdown
    gc.set_threshold(max(_LEAST_OBJECTS_BEFORE_GC, _OBJECTS_BEFORE_GC_PER_ROW * settings.claim_size))
    metrics = BatchMetrics(process.name)
    worker: Worker | None = None

    def ready() -> str | None:
        if worker is None or not worker.has_claimed:
            return "nothing claimed yet"
        return "stopping" if shutdown.requested else process.trouble.reason

    async with AsyncExitStack() as stack:
        # An answer to the liveness probe shows that the loop turns.
        await stack.enter_async_context(serve_probes(settings.http_port, metrics.registry, ready=ready))
        try:
            opened = await stack.enter_async_context(resources(settings)) if resources else None
            claiming, writing = process.trouble.watch(Backoff(SHORT_S)), process.trouble.watch(Backoff(SHORT_S))
            policy = RetryPolicy(settings.max_attempts, settings.retry_step_s)
            events, max_bytes = await _open_events(stack, process, table, handler)
            queue = await _open_queue(stack, process, table, policy, claiming)
            cpu = await stack.enter_async_context(CpuPool())
            runner = make_runner(handler, BatchContext(settings, cpu, opened), policy, shutdown, max_bytes)
            process.trouble.watch(runner.backoff)
            worker = Worker(queue, runner, settings, metrics, shutdown, process.tracer, events, claiming, writing)
            process.connected = True
            await worker.run()
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(f"{error}; given up after CLAIM_TIMEOUT_S") from error
        log.info("shut down" if shutdown.requested else "nothing left to claim")


async def _open_events(
    stack: AsyncExitStack, process: Process[BatchSettings], table: ClaimTable, handler: RowHandler
) -> tuple[RowEvents | None, int]:
    """Connect to NATS if rows send events. Return their publisher, and the most bytes of an event."""
    settings = process.settings
    if not (handler.returned.outputs.events and isinstance(settings, NatsSettings)):
        return None, MAX_EVENT_BYTES
    return await stack.enter_async_context(open_row_events(process, settings, table))


async def _open_queue(
    stack: AsyncExitStack,
    process: Process[BatchSettings],
    table: ClaimTable,
    policy: RetryPolicy,
    backoff: Backoff,
) -> ClaimQueue:
    """Connect to PostgreSQL, and bind the queue of `table`. Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S."""
    settings = process.settings
    # One connection for claims, and one for heartbeats, which a slow claim must not hold up.
    connections = await stack.enter_async_context(
        open_pool(settings, name=process.name, connections=WRITERS + 2, call_s=settings.claim_timeout_s)
    )
    process.hang_up = connections.terminate
    give_up = time.monotonic() + settings.claim_timeout_s

    def bind() -> Awaitable[ClaimQueue]:
        return ClaimQueue.bind(
            connections,
            table,
            pod_name=settings.pod_name,
            lease_s=settings.lease_s,
            call_s=settings.claim_timeout_s,
            policy=policy,
        )

    return await retry_until(bind, backoff, process.shutdown, lambda: give_up)
