"""Tasks that run rows, each row within its time limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine

from keda_jobs.batch.row_runner import Slot
from keda_jobs.claims.rows import ClaimedRow
from keda_jobs.domain.policy import HandlerTimeout

_CANCEL_S = 5.0
"""Time for a cancelled handler to clean up. Then it is left behind, because no coroutine can be killed."""

# A timer for each row would cost as much as the rest of the loop does.
_TICK_S = 0.5

log = logging.getLogger(__name__)


class RowTasks:
    """Tasks that run rows. `fail` records the failure of a row that used up its time."""

    def __init__(
        self,
        run: Callable[[Slot], Coroutine[None, None, None]],
        fail: Callable[[ClaimedRow, Exception], None],
        timeout_s: float,
    ) -> None:
        self._run = run
        self._fail = fail
        self._timeout_s = timeout_s
        self._slots: dict[asyncio.Task[None], Slot] = {}

    def start(self, number: int = 1) -> None:
        """Start tasks."""
        for _ in range(number):
            slot = Slot()
            self._slots[asyncio.create_task(self._run(slot))] = slot

    async def finish(self) -> None:
        """Return once every task has ended. Time limits are kept meanwhile."""
        try:
            while self._slots:
                done, _ = await asyncio.wait(
                    self._slots, timeout=min(_TICK_S, self._timeout_s / 4), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    self._slots.pop(task, None)
                    if not task.cancelled():
                        task.result()
                self._limit_rows(time.monotonic())
        finally:
            await self.cancel()

    @property
    def in_flight(self) -> int:
        """Number of tasks that have not ended."""
        return len(self._slots)

    async def cancel(self) -> None:
        """Cancel the rows in flight."""
        running = list(self._slots)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=_CANCEL_S)
        for task in running:
            if not task.done():
                self._leave_behind(task)

    def _limit_rows(self, now: float) -> None:
        for task, slot in list(self._slots.items()):
            if slot.cancelled_at is not None:
                if now > slot.cancelled_at + _CANCEL_S:
                    self._leave_behind(task)
                    self.start()
            elif slot.row is not None and now > slot.began_at + self._timeout_s:
                self._fail(slot.row, HandlerTimeout(f"no result after {self._timeout_s:g} s"))
                slot.cancelled_at = now
                task.cancel()

    def _leave_behind(self, task: asyncio.Task[None]) -> None:
        slot = self._slots.pop(task, None)
        if slot is not None:
            key = slot.row.key if slot.row else None
            log.error("the handler ignores its cancellation and is left behind", extra={"key": key})
            task.cancel()  # so that it ends with this row
