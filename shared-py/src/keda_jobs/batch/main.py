"""Work of a batch worker's process: connect to PostgreSQL, claim and run rows, and show it in the probes."""

from __future__ import annotations

import gc
import logging
import time
from contextlib import AsyncExitStack

from keda_jobs.batch.batch_run import WRITERS
from keda_jobs.batch.chunk_runner import make_runner
from keda_jobs.batch.job import BatchContext, BatchJob
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.worker import Worker
from keda_jobs.claims.queue import ClaimQueue
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.postgres import open_pool
from keda_jobs.runtime.backoff import SHORT_S, Backoff, retry_until
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.health import serve_probes
from keda_jobs.runtime.process import Process
from keda_jobs.settings import BatchSettings

# A claimed row is about five small objects without a circle among them. Python's default, to look for circles after
# every 700 new ones, takes as long as all else the loop does for a row. So it looks when there are more new objects
# than the rows of a worker are, which is when a handler leaves circles.
_LEAST_OBJECTS_BEFORE_GC = 50_000
_OBJECTS_BEFORE_GC_PER_ROW = 8

log = logging.getLogger(__name__)


async def work(job: BatchJob, process: Process[BatchSettings]) -> None:
    """Claim and run rows until none is claimable. Raises `DatabaseUnavailable` after CLAIM_TIMEOUT_S."""
    gc.set_threshold(max(_LEAST_OBJECTS_BEFORE_GC, _OBJECTS_BEFORE_GC_PER_ROW * process.settings.claim_size))
    metrics = BatchMetrics(job.name)
    worker: Worker | None = None

    def ready() -> str | None:
        if worker is None or not worker.has_claimed:
            return "nothing claimed yet"
        return "stopping" if process.shutdown.requested else process.trouble.reason

    async with AsyncExitStack() as stack:
        # An answer to the liveness probe shows that the loop turns.
        await stack.enter_async_context(serve_probes(process.settings.http_port, metrics.registry, ready=ready))
        try:
            worker = await _connect(job, process, metrics, stack)
            process.connected = True
            await worker.run()
        except DatabaseUnavailable as error:
            raise DatabaseUnavailable(f"{error}; given up after CLAIM_TIMEOUT_S") from error
        log.info("shut down" if process.shutdown.requested else "nothing left to claim")


async def _connect(
    job: BatchJob, process: Process[BatchSettings], metrics: BatchMetrics, stack: AsyncExitStack
) -> Worker:
    settings, shutdown = process.settings, process.shutdown
    resources = await stack.enter_async_context(job.resources(settings)) if job.resources else None
    # One connection for claims, and one for heartbeats, which a slow claim must not hold up.
    connections = await stack.enter_async_context(
        open_pool(settings, name=job.name, connections=WRITERS + 2, call_s=settings.claim_timeout_s)
    )
    process.hang_up = connections.terminate
    policy = RetryPolicy(settings.max_attempts, settings.retry_step_s)
    give_up = time.monotonic() + settings.claim_timeout_s
    backoff = process.trouble.watch(Backoff(SHORT_S))
    queue = await retry_until(
        lambda: ClaimQueue.bind(
            connections,
            job.table,
            pod_name=settings.pod_name,
            lease_s=settings.lease_s,
            call_s=settings.claim_timeout_s,
            policy=policy,
        ),
        backoff,
        shutdown,
        lambda: give_up,
    )
    cpu = await stack.enter_async_context(CpuPool())
    runner = make_runner(job, BatchContext(settings, cpu, resources), policy, shutdown)
    process.trouble.watch(runner.backoff)
    writing = process.trouble.watch(Backoff(SHORT_S))
    return Worker(queue, runner, settings, metrics, shutdown, process.tracer, backoff, writing)
