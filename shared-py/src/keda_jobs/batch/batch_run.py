"""One batch in work: its rows, its heartbeat, and what is written of it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.results import ResultBuffer
from keda_jobs.batch.retrying import database_backoff, retry_until
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.claims.queue import Batch, ClaimQueue, Done, Failure, LeaseLost, Settled, ValuesRefused
from keda_jobs.domain.policy import describe
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import Span
from keda_jobs.settings import BatchSettings

WRITERS = 3
"""Transactions of one batch at once; more gain nothing."""

T = TypeVar("T")
log = logging.getLogger(__name__)


class BatchRun:
    """Runs the rows of one batch and closes it."""

    def __init__(
        self,
        queue: ClaimQueue,
        batch: Batch,
        runner: RowRunner,
        settings: BatchSettings,
        metrics: BatchMetrics,
        shutdown: Shutdown,
    ) -> None:
        self._queue = queue
        self._batch = batch
        self._runner = runner
        self._settings = settings
        self._metrics = metrics
        self._shutdown = shutdown
        self._backoff = database_backoff()
        self._results = ResultBuffer()
        self._lease_until = 0.0
        self._settled = Settled()

    async def run(self, span: Span) -> None:
        """Return when the batch is closed, or left to other workers."""
        began = time.monotonic()
        self._renewed(began)
        try:
            await self._run_rows()
            returned = await self._retry_while_leased(lambda: self._queue.close(self._batch))
        except LeaseLost as lost:
            self._leave(lost)
            span.end("lost", type(lost).__name__, self._counts())
        except Exception as error:
            await self._close_as_failed(describe(error))
            raise
        else:
            duration_s = time.monotonic() - began
            self._metrics.record_completed_batch(duration_s)
            span.end("completed", counts=self._counts() | {"returned": returned})
            self._report(returned, duration_s, span)
        finally:
            self._metrics.record_batch_end()

    async def _run_rows(self) -> None:
        waiting = deque(self._batch.rows)
        try:
            async with asyncio.TaskGroup() as group:
                in_work = min(self._settings.workers, len(waiting))
                rows = [group.create_task(self._runner.run(waiting, self._results)) for _ in range(in_work)]
                writers = [group.create_task(self._write()) for _ in range(WRITERS)]
                beside = [group.create_task(self._beat()), group.create_task(self._cancel_after_grace(rows))]
                await asyncio.wait(rows)
                self._results.close()
                await asyncio.wait(writers)
                for task in beside:
                    task.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _cancel_after_grace(self, rows: Sequence[asyncio.Task[None]]) -> None:
        await self._shutdown.grace_elapsed()
        running = [task for task in rows if not task.done()]
        if running:
            log.warning("%d rows in work at the end of SHUTDOWN_GRACE_S are given back", len(running))
        for task in running:
            task.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._settings.lease_s / 3)
            await self._retry_while_leased(lambda: self._queue.renew(self._batch))

    async def _write(self) -> None:
        while not self._results.exhausted:
            done, failures = await self._results.drain()
            if done or failures:
                settled = await self._settle(done, failures)
                self._metrics.record_settled(settled)
                self._settled += settled

    async def _settle(self, done: Sequence[Done], failures: Sequence[Failure]) -> Settled:
        """Write all of them; a row whose values the table refuses fails, and no other with it."""
        try:
            return await self._retry_while_leased(lambda: self._queue.settle(self._batch, done, failures))
        except ValuesRefused as error:
            if not done:
                raise
            if len(done) == 1:
                return await self._settle((), [*failures, self._runner.failure(done[0].row, error)])
            half = len(done) // 2
            return await self._settle(done[:half], failures) + await self._settle(done[half:], ())

    async def _retry_while_leased(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of `call`, tried while the lease lasts, after a shutdown within the grace. Raises `LeaseLost`."""

        async def attempt() -> T:
            began = time.monotonic()
            result = await call()
            # Each call that is answered has renewed the lease, at some moment after it was sent.
            self._renewed(began)
            return result

        try:
            return await retry_until(
                attempt, self._backoff, self._shutdown, lambda: min(self._lease_until, self._shutdown.deadline)
            )
        except DatabaseUnavailable as error:
            raise LeaseLost(f"batch {self._batch.batch_id}: {error}") from error

    def _renewed(self, moment: float) -> None:
        self._lease_until = moment + self._settings.lease_s
        self._metrics.record_renewal(moment)

    def _leave(self, lost: LeaseLost) -> None:
        log.warning("%s; what is not written of it goes to others when its lease is over", lost)
        self._metrics.record_batch("lost")

    async def _close_as_failed(self, error: str) -> None:
        try:
            await self._retry_while_leased(lambda: self._queue.close(self._batch, error))
        except LeaseLost as lost:
            self._leave(lost)

    def _counts(self) -> dict[str, int]:
        settled = self._settled
        return {"completed": settled.completed, "failed": settled.failed, "given_up": settled.given_up}

    def _report(self, returned: int, duration_s: float, span: Span) -> None:
        fields: dict[str, object] = {
            "batch_id": self._batch.batch_id,
            **self._counts(),
            "returned": returned,
            "duration_s": round(duration_s, 3),
        }
        if span.trace_id is not None:
            fields["trace_id"] = span.trace_id
        log.info("batch %d: %d rows", self._batch.batch_id, len(self._batch.rows), extra=fields)
