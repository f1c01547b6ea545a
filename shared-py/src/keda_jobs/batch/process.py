"""From the environment to a working process, and from an empty queue or SIGTERM to exit 0."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import time
from contextlib import AsyncExitStack

from keda_jobs.batch.batch_run import WRITERS
from keda_jobs.batch.context import BatchContext
from keda_jobs.batch.job import BatchJob
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.retrying import database_backoff, retry_until
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.batch.worker import Worker
from keda_jobs.claims.queue import ClaimQueue
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import DatabaseUnavailable, Misconfigured
from keda_jobs.postgres import Pool, open_pool
from keda_jobs.runtime import health, logs
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import Tracer, open_tracer
from keda_jobs.settings import BatchSettings, load, shown

# After the grace: to write and to give back, if PostgreSQL answers at all.
_CLOSING_S = 5.0
# A batch is a hundred thousand small objects without a circle among them. Python's default, to look for circles after
# every 700 new ones, takes as long as all else the loop does for a row.
_NEW_OBJECTS_BEFORE_GC = 50_000

log = logging.getLogger(__name__)


def serve(job: BatchJob) -> int:
    """Run `job` until nothing is claimable or it is told to stop; the exit code."""
    logs.setup(job.name)
    gc.set_threshold(_NEW_OBJECTS_BEFORE_GC)
    try:
        settings = load(job.settings)
        logging.getLogger().setLevel(settings.log_level)
        with open_tracer(settings, job.name) as tracer:
            asyncio.run(_Process(job, settings, tracer).run())
    except Misconfigured as error:
        log.critical("%s", error)
        return 2
    except DatabaseUnavailable as error:
        log.critical("%s; given up after CLAIM_TIMEOUT_S", error)
        return 1
    except Exception:
        log.critical("the worker ends by an error that is a bug", exc_info=True)
        return 1
    return 0


class _Process:
    """One worker process: what its probes look at, and what a signal ends."""

    def __init__(self, job: BatchJob, settings: BatchSettings, tracer: Tracer) -> None:
        self._job = job
        self._settings = settings
        self._tracer = tracer
        self._metrics = BatchMetrics(job.name)
        self._shutdown = Shutdown(settings.shutdown_grace_s)
        self._connections: Pool | None = None
        self._worker: Worker | None = None

    async def run(self) -> None:
        log.info("settings: %s", shown(self._settings))
        main = asyncio.create_task(self._work())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._told_to_stop, main)
        with contextlib.suppress(asyncio.CancelledError):
            await main

    def _told_to_stop(self, main: asyncio.Task[None]) -> None:
        self._shutdown.request()
        if self._worker is None:
            self._hang_up()
            main.cancel()
        else:
            left_s = self._shutdown.deadline - time.monotonic() + _CLOSING_S
            asyncio.get_running_loop().call_later(left_s, self._hang_up)

    def _hang_up(self) -> None:
        """End every call to PostgreSQL that has no answer; cancelling one would wait for the server too."""
        if self._connections is not None:
            self._connections.terminate()

    def _ready(self) -> str | None:
        if self._worker is None or not self._worker.has_claimed:
            return "nothing claimed yet"
        return "stopping" if self._shutdown.requested else None

    async def _work(self) -> None:
        async with AsyncExitStack() as stack:
            # That it answers shows that the loop turns.
            probes = health.serve(
                self._settings.http_port, alive=lambda: None, ready=self._ready, registry=self._metrics.registry
            )
            log.info("probes and metrics on port %d", await stack.enter_async_context(probes))
            try:
                self._worker = await self._connected(stack)
            except asyncio.CancelledError:
                log.info("stopped before it was connected")
                raise
            await self._worker.run()
            log.info("told to stop" if self._shutdown.requested else "nothing left to claim")

    async def _connected(self, stack: AsyncExitStack) -> Worker:
        settings, job = self._settings, self._job
        resources = await stack.enter_async_context(job.resources(settings)) if job.resources else None
        # One connection for claims and heartbeats.
        connections = self._connections = await stack.enter_async_context(
            open_pool(settings, name=job.name, connections=WRITERS + 1, call_s=settings.claim_timeout_s)
        )
        policy = RetryPolicy(settings.max_attempts, settings.retry_step_s)
        give_up = time.monotonic() + settings.claim_timeout_s
        queue = await retry_until(
            lambda: ClaimQueue.bind(
                connections, job.table, pod_name=settings.pod_name, lease_s=settings.lease_s, policy=policy
            ),
            database_backoff(),
            self._shutdown,
            lambda: give_up,
        )
        runner = RowRunner(job, BatchContext(settings, CpuPool(), resources), policy, self._shutdown)
        return Worker(queue, runner, settings, self._metrics, self._shutdown, self._tracer)
