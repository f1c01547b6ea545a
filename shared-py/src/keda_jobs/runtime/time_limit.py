"""Time limit of a handler. It does not run while the handler waits for the platform."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar

_running: ContextVar[TimeLimit | None] = ContextVar("time_limit", default=None)


class TimeLimit:
    """Limit of one handler, shared by all tasks that the handler starts."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self._suspended = 0
        self._left_s = 0.0

    def suspend(self) -> None:
        """Stop the clock. Calls may overlap."""
        if not self._suspended:
            now = asyncio.get_running_loop().time()
            self._left_s = (self._timeout.when() or now) - now
            self._reschedule(None)
        self._suspended += 1

    def resume(self) -> None:
        """Undo one `suspend`. The clock runs again after the last one."""
        self._suspended -= 1
        if not self._suspended:
            self._reschedule(asyncio.get_running_loop().time() + self._left_s)

    def _reschedule(self, when: float | None) -> None:
        # A task that outlives its handler, or handles its cancellation, has no clock to stop.
        with contextlib.suppress(RuntimeError):
            self._timeout.reschedule(when)


@asynccontextmanager
async def limit_time(duration_s: float) -> AsyncIterator[None]:
    """Cancel the block after `duration_s`, and raise `TimeoutError`. Tasks started in it may stop the clock."""
    async with asyncio.timeout(duration_s) as timeout:
        token = _running.set(TimeLimit(timeout))
        try:
            yield
        finally:
            _running.reset(token)


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
