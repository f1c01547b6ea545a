"""From a claimed row to its outcome: the one place that turns a row's exception into a failure."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from keda_jobs.batch.batch_rows import BatchRows
from keda_jobs.batch.handler import BatchContext, RowHandler
from keda_jobs.batch.returned import ResultReader
from keda_jobs.claims.rows import ClaimedRow, Failure, QueueHold
from keda_jobs.domain.policy import RetryPolicy, class_name, describe, failure_of, requested_delay_s
from keda_jobs.errors import JobError, PlatformError
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.shutdown import Shutdown, is_cancelled

# Rows run this long before heartbeat, writes and probes get their turn.
_SLICE_S = 0.02
MAX_EVENT_BYTES = 512 * 1024
"""Largest event where NATS has its default max_payload of 1 MiB. Its retry by a job that reads it needs the rest."""

log = logging.getLogger(__name__)


class _TextHidden(Exception):
    """Exception of a handler in the log. Its text, which may hold values of the row, is in the row's `error`."""


async def _hold_no_queue(hold: QueueHold) -> None:
    """Do nothing: a runner without a worker has no queue."""


@dataclass(slots=True)
class Slot:
    """Place of one call of the handler, in one task."""

    rows: Sequence[ClaimedRow] = ()
    """The rows that the handler is running on."""
    began_at: float = 0.0
    """Start of the call, by `time.monotonic`."""
    cancelled_at: float | None = None
    """Time at which the call was cancelled by someone who has recorded its outcome."""

    def end_cancellation(self) -> None:
        """Continue with the next row, unless the task itself was cancelled too."""
        self.rows, self.cancelled_at = (), None
        task = asyncio.current_task()
        if task is not None and task.uncancel() > 0:
            raise asyncio.CancelledError


class TimeSlice:
    """Time slice shared by all row tasks, because a handler that never awaits would block the event loop."""

    def __init__(self) -> None:
        self.ends_at = 0.0
        self._began = asyncio.Event()
        self._began.set()

    async def next(self) -> None:
        """Let the other tasks of the event loop run, then begin the next slice."""
        if not self._began.is_set():
            await self._began.wait()
            return
        self._began.clear()
        asyncio.get_running_loop().call_soon(self._began.set)
        await self._began.wait()
        self.ends_at = time.monotonic() + _SLICE_S


class RowRunner:
    """Runner of the handler on rows. Several tasks may call `run` at once."""

    def __init__(
        self,
        handler: RowHandler,
        context: BatchContext[Any, Any],
        policy: RetryPolicy,
        shutdown: Shutdown,
        max_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        """`max_bytes` is the largest event that a row may send."""
        self._handler = handler.function
        self._row = handler.row
        self._read = ResultReader(handler.returned, max_bytes).read
        self._context = context
        self._chunk = handler.chunk or 1
        self._policy = policy
        self._shutdown = shutdown
        self.backoff = Backoff()
        """Pause of all rows while a part of the platform that the handler needs is unavailable."""
        self.ask_for_hold: Callable[[QueueHold], Awaitable[None]] = _hold_no_queue
        """Lets all workers of the queue wait."""
        self._slice = TimeSlice()
        self._bugs: set[type[BaseException]] = set()

    async def run(self, rows: BatchRows, slot: Slot) -> None:
        """Run waiting rows in `slot` until there are none or a shutdown is requested.

        This is the inner loop, with a hundred thousand rows a second.
        """
        handler, context, row_type, read = self._handler, self._context, self._row, self._read
        waiting, time_slice = rows.waiting, self._slice
        while waiting and not self._shutdown.requested:
            now = time.monotonic()
            if now > time_slice.ends_at or len(rows.completed) >= rows.look_after:
                await self._pause(rows, slot)
                continue
            claimed = waiting.popleft()
            slot.rows, slot.began_at = (claimed,), now
            try:
                completed = read(claimed, await handler(tuple.__new__(row_type, claimed.values), context))
            except BaseException as error:
                await self._handle_error(error, rows, slot)
            else:
                if slot.cancelled_at is not None:
                    slot.end_cancellation()
                    continue
                rows.completed.append(completed)
                if self.backoff.active:
                    self.backoff.reset()
        slot.rows = ()

    def fail(self, rows: BatchRows, claimed: Sequence[ClaimedRow], error: Exception) -> None:
        """Record the failure of the handler's call on a row."""
        rows.failures += [self.failure(row, error) for row in claimed]

    async def _pause(self, rows: BatchRows, slot: Slot) -> None:
        """Let others run. Return when the next row may start."""
        slot.rows = ()
        rows.look()
        await self._slice.next()
        if self.backoff.waiting or not rows.may_start:
            self._slice.ends_at = 0.0  # a row that ends meanwhile is followed by no other either
        await self.backoff.outlast(self._shutdown)
        await rows.wait_to_start(self._shutdown)

    async def _handle_error(self, error: BaseException, rows: BatchRows, slot: Slot) -> None:
        """Record the failure of the handler's call, or wait where the platform is at fault."""
        claimed, slot.rows = slot.rows, ()
        if slot.cancelled_at is not None:
            slot.end_cancellation()
        elif isinstance(error, PlatformError):
            rows.waiting.extendleft(reversed(claimed))
            await self._back_off(error)
        elif not isinstance(error, Exception) and is_cancelled():
            raise error
        else:
            self.fail(rows, claimed, self._note_failure(error))

    async def _back_off(self, error: PlatformError) -> None:
        self._slice.ends_at = 0.0  # no other row starts either
        asked_s = requested_delay_s(error)
        self.backoff.failed(str(error), asked_s)
        if asked_s:
            await self.ask_for_hold(QueueHold(asked_s, describe(error)))
        await self.backoff.outlast(self._shutdown)

    def failure(self, claimed: ClaimedRow, error: Exception) -> Failure:
        """Build the failure of a row by `error`, with the time of its retry."""
        return Failure.of(claimed, self._policy.after_failure(error, claimed.attempts + 1))

    def _note_failure(self, raised: BaseException) -> Exception:
        """Log what looks like a bug, and return the failure."""
        error = failure_of(raised)
        self.backoff.reset()  # the platform let the handler come to an end
        if not isinstance(error, JobError) and type(error) not in self._bugs:
            self._bugs.add(type(error))
            where = (type(error), _TextHidden(class_name(error)), error.__traceback__)
            log.error("the handler raised; later %s are not logged", class_name(error), exc_info=where)
        return error
