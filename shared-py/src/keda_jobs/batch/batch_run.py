"""Run of one claimed batch: its rows, its heartbeat and its writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.results import ResultBuffer
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.batch.row_tasks import RowTasks
from keda_jobs.claims.outcomes import ValuesRefused
from keda_jobs.claims.queue import ClaimQueue, LeaseLost
from keda_jobs.claims.rows import Batch, CompletedRow, Failure, SettledRows
from keda_jobs.domain.policy import describe
from keda_jobs.errors import DatabaseUnavailable
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import Span
from keda_jobs.settings import BatchSettings

WRITERS = 3
"""Concurrent transactions of one batch. More of them gain nothing."""

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchRun:
    """Runs the rows of one batch and closes it."""

    queue: ClaimQueue
    batch: Batch
    runner: RowRunner
    settings: BatchSettings
    metrics: BatchMetrics
    shutdown: Shutdown
    backoff: Backoff
    _results: ResultBuffer = field(init=False, default_factory=ResultBuffer)
    _lease_until: float = field(init=False, default=0.0)
    _settled: SettledRows = field(init=False, default=SettledRows())

    async def run(self, span: Span) -> None:
        """Run the rows, write their outcomes and close the batch, or leave it to other workers."""
        began = time.monotonic()
        self._record_renewal(began)
        try:
            await self._run_rows()
            returned = await self._retry_while_leased(lambda: self.queue.close(self.batch))
        except LeaseLost as lost:
            self._abandon(lost)
            span.end("lost", type(lost).__name__, self._counts())
        except Exception as error:
            await self._close_as_failed(describe(error))
            raise
        else:
            duration_s = time.monotonic() - began
            self.metrics.record_batch("completed")
            self.metrics.batch_duration.observe(duration_s)
            span.end("completed", counts=self._counts() | {"returned": returned})
            self._log_summary(returned, duration_s, span)
        finally:
            self.metrics.renewed_at = None

    async def _run_rows(self) -> None:
        waiting = deque(self.batch.rows)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = RowTasks(
                    lambda slot: self.runner.run(waiting, self._results, slot),
                    lambda row, error: self._results.failures.append(self.runner.failure(row, error)),
                    self.settings.handler_timeout_s,
                )
                tasks.start(min(self.settings.workers, len(waiting)))
                writers = [group.create_task(self._write_results()) for _ in range(WRITERS)]
                watchers = [
                    group.create_task(self._renew_lease()),
                    group.create_task(self._cancel_after_grace(tasks)),
                ]
                await tasks.finish()
                self._results.close()
                await asyncio.wait(writers)
                for watcher in watchers:
                    watcher.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _cancel_after_grace(self, tasks: RowTasks) -> None:
        await self.shutdown.grace_elapsed()
        if tasks.in_flight:
            log.warning("SHUTDOWN_GRACE_S elapsed, giving back %d rows in flight", tasks.in_flight)
        await tasks.cancel()

    async def _renew_lease(self) -> None:
        while True:
            await asyncio.sleep(self.settings.lease_s / 3)
            await self._retry_while_leased(lambda: self.queue.renew(self.batch))

    async def _write_results(self) -> None:
        while not self._results.exhausted:
            completed, failures = await self._results.drain()
            if completed or failures:
                settled = await self._settle(completed, failures)
                self.metrics.record_settled(settled)
                self._settled += settled

    async def _settle(self, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> SettledRows:
        """Write the results. A row whose values the table refuses fails alone."""
        try:
            return await self._retry_while_leased(lambda: self.queue.settle(self.batch, completed, failures))
        except ValuesRefused as error:
            if not completed:
                raise
            if len(completed) == 1:
                return await self._settle((), [*failures, self.runner.failure(completed[0].row, error)])
            half = len(completed) // 2
            return await self._settle(completed[:half], failures) + await self._settle(completed[half:], ())

    async def _retry_while_leased(self, call: Callable[[], Awaitable[T]]) -> T:
        """Retry `call` until the lease expires, or until the grace of a shutdown elapses. Raises `LeaseLost`."""

        async def attempt() -> T:
            began = time.monotonic()
            result = await call()
            # Every successful call has renewed the lease, at some moment after it was sent.
            self._record_renewal(began)
            return result

        try:
            return await retry_until(
                attempt, self.backoff, self.shutdown, lambda: min(self._lease_until, self.shutdown.deadline)
            )
        except DatabaseUnavailable as error:
            raise LeaseLost(f"batch {self.batch.batch_id}: {error}") from error

    def _record_renewal(self, moment: float) -> None:
        self._lease_until = moment + self.settings.lease_s
        self.metrics.renewed_at = moment

    def _abandon(self, lost: LeaseLost) -> None:
        log.warning("%s; other workers take its unwritten rows", lost)
        self.metrics.record_batch("lost")

    async def _close_as_failed(self, error: str) -> None:
        try:
            await self._retry_while_leased(lambda: self.queue.close(self.batch, error))
        except LeaseLost as lost:
            self._abandon(lost)

    def _counts(self) -> dict[str, int]:
        settled = self._settled
        return {"completed": settled.completed, "failed": settled.failed, "given_up": settled.failed_permanently}

    def _log_summary(self, returned: int, duration_s: float, span: Span) -> None:
        fields: dict[str, object] = {
            "batch_id": self.batch.batch_id,
            **self._counts(),
            "returned": returned,
            "duration_s": round(duration_s, 3),
        }
        if span.trace_id is not None:
            fields["trace_id"] = span.trace_id
        log.info("batch %d: %d rows", self.batch.batch_id, len(self.batch.rows), extra=fields)
