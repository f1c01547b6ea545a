"""Run of one claimed batch: its rows, its heartbeat and its writes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from keda_jobs.batch.batch_rows import BatchRows, Piece
from keda_jobs.batch.lease import Lease
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.row_events import RowEvents
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.batch.row_tasks import RowTasks
from keda_jobs.claims.queue import LeaseLost
from keda_jobs.claims.rows import SettledRows
from keda_jobs.domain.policy import describe
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.spans import Span
from keda_jobs.settings import BatchSettings

WRITERS = 3
"""Concurrent transactions of one worker that write results. More of them gain nothing."""

log = logging.getLogger(__name__)


class Slots:
    """Slots shared by the batches of one worker: to run rows, and to write results."""

    def __init__(self, workers: int) -> None:
        self.run = asyncio.Semaphore(workers)
        self.write = asyncio.Semaphore(WRITERS)


@dataclass(slots=True)
class BatchRun:
    """Runs the rows of one batch and closes it."""

    lease: Lease
    rows: BatchRows
    runner: RowRunner
    slots: Slots
    settings: BatchSettings
    metrics: BatchMetrics
    shutdown: Shutdown
    events: RowEvents | None = None
    _trace: Mapping[str, str] = field(init=False, default_factory=dict)
    _settled: SettledRows = field(init=False, default=SettledRows())

    async def run(self, span: Span) -> None:
        """Run the rows, write their outcomes and close the batch, or leave it to other workers."""
        began = time.monotonic()
        self._trace = span.inject({})
        try:
            await self._run_rows()
            returned = await self._close()
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
            self.rows.close()
            self.lease.end()

    async def _run_rows(self) -> None:
        tasks = RowTasks(
            lambda slot: self.runner.run(self.rows, slot),
            lambda claimed, error: self.runner.fail(self.rows, claimed, error),
            self.settings.handler_timeout_s,
            self.slots.run,
        )
        try:
            async with asyncio.TaskGroup() as group:
                writing = group.create_task(self._write_results(group))
                watchers = [group.create_task(self.lease.keep()), group.create_task(self._stop_on_shutdown(tasks))]
                await tasks.run(min(self.settings.workers, self.rows.claimed))
                self.rows.close()
                await asyncio.wait((writing,))
                for watcher in watchers:
                    watcher.cancel()
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors

    async def _stop_on_shutdown(self, tasks: RowTasks) -> None:
        await self.shutdown.wait()
        tasks.start_no_more()
        self.rows.wake()
        await self.shutdown.grace_elapsed()
        if in_flight := self.rows.in_flight:
            log.warning("SHUTDOWN_GRACE_S elapsed, giving back %d rows in flight", in_flight)
        await tasks.cancel()

    async def _write_results(self, group: asyncio.TaskGroup) -> None:
        writers: set[asyncio.Task[None]] = set()
        while (piece := await self.rows.next_piece()) is not None:
            await self.slots.write.acquire()
            writer = group.create_task(self._write(piece))
            writers.add(writer)
            writer.add_done_callback(writers.discard)
            writer.add_done_callback(lambda _: self.slots.write.release())
        if writers:
            await asyncio.wait(writers)

    async def _write(self, piece: Piece) -> None:
        queue, batch = self.lease.queue, self.lease.batch
        ended = await self._send_events(piece, self.events) if self.events else piece
        settled = await self.lease.retry(lambda: queue.settle(batch, ended.completed, ended.failures))
        self.rows.written(piece)
        self.metrics.record_settled(settled)
        self._settled += settled

    async def _send_events(self, piece: Piece, events: RowEvents) -> Piece:
        """Send the events of the piece's rows. Rows whose events are not confirmed are left out, and come back."""
        sent = await events.send(piece.completed, self._trace)
        self.metrics.events.inc(sum(len(row.events) for row in sent.confirmed))
        refused = [self.runner.failure(row, error) for row, error in sent.refused]
        return Piece(sent.confirmed, piece.failures + refused)

    async def _close(self, error: str | None = None) -> int:
        return await self.lease.retry(lambda: self.lease.queue.close(self.lease.batch, error))

    def _abandon(self, lost: LeaseLost) -> None:
        log.warning("%s; other workers take its unwritten rows", lost)
        self.metrics.record_batch("lost")

    async def _close_as_failed(self, error: str) -> None:
        try:
            await self._close(error)
        except LeaseLost as lost:
            self._abandon(lost)

    def _counts(self) -> dict[str, int]:
        settled = self._settled
        return {"completed": settled.completed, "failed": settled.failed, "given_up": settled.failed_permanently}

    def _log_summary(self, returned: int, duration_s: float, span: Span) -> None:
        batch_id = self.lease.batch.batch_id
        fields: dict[str, object] = {
            "batch_id": batch_id,
            **self._counts(),
            "returned": returned,
            "duration_s": round(duration_s, 3),
        }
        if span.trace_id is not None:
            fields["trace_id"] = span.trace_id
        log.info("batch %d: %d rows", batch_id, self.rows.claimed, extra=fields)
