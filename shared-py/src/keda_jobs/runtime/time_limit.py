"""Time limit of a handler. It does not run while the handler waits for the platform."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from keda_jobs.runtime.deadlines import Deadlines

T = TypeVar("T")

_running: ContextVar[TimeLimit | None] = ContextVar("time_limit", default=None)


class TimeLimit:
    """Limit of one handler, shared by all tasks that the handler starts."""

    def __init__(self, deadlines: Deadlines, duration_s: float) -> None:
        # A future costs half of asyncio.wait, for each message.
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the work has ended, its time is over, or `end` was called."""
        self.error: Exception | None = None
        """Why the work is to end before its time."""
        self._deadlines = deadlines
        self.ends_at: float | None = deadlines.set(self._end, duration_s)
        """When the time is over, by the clock of the loop. None while the clock stands still."""
        self._suspended = 0
        self._left_s = 0.0

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in a task of its own, which may stop the clock."""
        token = _running.set(self)
        try:
            task = asyncio.create_task(work)
        finally:
            _running.reset(token)
        task.add_done_callback(self._end)
        return task

    def end(self, error: Exception) -> None:
        """End the work now, with `error` as its result."""
        self.error = error
        self._end()

    def stop(self) -> None:
        """Stop the clock for good."""
        self._end()
        self._stop_clock()

    def _end(self, *_task: object) -> None:
        if not self.over.done():
            self.over.set_result(None)

    def _stop_clock(self) -> None:
        self._deadlines.clear(self._end)
        self.ends_at = None

    def suspend(self) -> None:
        """Stop the clock. Calls may overlap."""
        if self.ends_at is not None:
            self._left_s = self.ends_at - asyncio.get_running_loop().time()
            self._stop_clock()
        self._suspended += 1

    def resume(self) -> None:
        """Undo one `suspend`. The clock runs again after the last one."""
        self._suspended -= 1
        # A task may outlive its handler.
        if not self._suspended and not self.over.done():
            self.ends_at = self._deadlines.set(self._end, self._left_s)


@contextmanager
def suspended_time_limit() -> Iterator[None]:
    """Stop the clock of the running handler, if there is one, for the duration of the block."""
    limit = _running.get()
    if limit is None:
        yield
        return
    limit.suspend()
    try:
        yield
    finally:
        limit.resume()


def end_handler(error: Exception) -> None:
    """End the running handler with `error` as its result, if there is one."""
    if (limit := _running.get()) is not None:
        limit.end(error)
