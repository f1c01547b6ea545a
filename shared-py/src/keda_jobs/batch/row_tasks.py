"""Tasks that run the rows of a batch, in slots that the batches of a worker share, each row within its time limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence

from keda_jobs.batch.row_runner import Slot
from keda_jobs.claims.rows import ClaimedRow
from keda_jobs.domain.policy import HandlerTimeout
from keda_jobs.runtime.shutdown import wait_for

_CANCEL_S = 5.0
"""Time for a cancelled handler to clean up. Then it is left behind, because no coroutine can be killed."""

# A timer for each row would cost as much as the rest of the loop does.
_TICK_S = 0.5

log = logging.getLogger(__name__)


class RowTasks:
    """Tasks that run rows, each in a slot of `free`. `fail` records the failure of rows that used up their time."""

    def __init__(
        self,
        run: Callable[[Slot], Coroutine[None, None, None]],
        fail: Callable[[Sequence[ClaimedRow], Exception], None],
        timeout_s: float,
        free: asyncio.Semaphore,
    ) -> None:
        self._run = run
        self._fail = fail
        self._timeout_s = timeout_s
        self._free = free
        self._slots: dict[asyncio.Task[None], Slot] = {}
        self._starting: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._ended = asyncio.Event()

    async def run(self, most: int) -> None:
        """Run up to `most` tasks, as slots become free, until every one has ended. Time limits are kept meanwhile."""
        self._starting = asyncio.create_task(self._start(most))
        self._starting.add_done_callback(lambda _: self._ended.set())
        try:
            while self._slots or not self._starting.done():
                await wait_for(self._ended, min(_TICK_S, self._timeout_s / 4))
                self._ended.clear()
                if self._error is not None:
                    raise self._error
                self._limit_rows(time.monotonic())
        finally:
            await self.cancel()

    def start_no_more(self) -> None:
        """Start no task in a slot that is still taken."""
        if self._starting is not None:
            self._starting.cancel()

    async def cancel(self) -> None:
        """Cancel the rows in flight."""
        self.start_no_more()
        running = list(self._slots)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CANCEL_S)
        for task in running:
            if not task.done():
                self._leave_behind(task)
                self._free.release()

    async def _start(self, most: int) -> None:
        for _ in range(most):
            await self._free.acquire()
            self._start_task()

    def _start_task(self) -> None:
        slot = Slot()
        task = asyncio.create_task(self._run(slot))
        self._slots[task] = slot
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if self._slots.pop(task, None) is None:  # left behind
            return
        self._free.release()
        self.start_no_more()  # a task ends when no row waits
        if not task.cancelled() and (error := task.exception()) is not None:
            self._error = error
        if not self._slots or self._error is not None:
            self._ended.set()

    def _limit_rows(self, now: float) -> None:
        for task, slot in list(self._slots.items()):
            if slot.cancelled_at is not None:
                if now > slot.cancelled_at + _CANCEL_S:
                    self._leave_behind(task)
                    self._start_task()
            elif slot.rows and now > slot.began_at + self._timeout_s:
                self._fail(slot.rows, HandlerTimeout(f"no result after {self._timeout_s:g} s"))
                slot.cancelled_at = now
                task.cancel()

    def _leave_behind(self, task: asyncio.Task[None]) -> None:
        slot = self._slots.pop(task, None)
        if slot is not None:
            keys = [row.key for row in slot.rows]
            log.error("the handler ignores its cancellation and is left behind", extra={"keys": keys})
            task.cancel()  # so that it ends with this row
