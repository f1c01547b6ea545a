"""Request that a process ends, and the grace for its running work."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class Shutdown:
    """Shutdown of a process. Requested once, running work has the grace to finish. Requested again, it has none."""

    def __init__(self, grace_s: float) -> None:
        self.requested = False
        self.deadline = math.inf
        """End of the grace, by `time.monotonic`."""
        self._grace_s = grace_s
        self._first = asyncio.Event()
        self._second = asyncio.Event()
        self.on_request: Callable[[], None] = lambda: None
        """Called at each request."""

    def request(self) -> None:
        """Start the grace. A second call ends it."""
        if self.requested:
            self._second.set()
        self.deadline = time.monotonic() + (0.0 if self.requested else self._grace_s)
        self.requested = True
        self._first.set()
        self.on_request()

    async def wait(self) -> None:
        """Return once a shutdown is requested."""
        await self._first.wait()

    async def grace_elapsed(self) -> None:
        """Return once a shutdown is requested and its grace has elapsed."""
        await self._first.wait()
        await wait_for(self._second, self.deadline - time.monotonic())

    async def sleep(self, duration_s: float) -> None:
        """Sleep. The first `request` ends the sleep early."""
        if self.requested:
            await asyncio.sleep(duration_s)
        else:
            await wait_for(self._first, duration_s)


async def wait_for(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until `event` is set, at most `timeout_s` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


def is_cancelled() -> bool:
    """Return whether the running task was cancelled, whatever it raised instead."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def cancel_on(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return the result of `work`, or cancel it and return None once `stop` is set."""
    working, stopping = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return working.result()
    working.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
    return None
