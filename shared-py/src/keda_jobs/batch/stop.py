"""The wish that a worker ends, and how long its work may still take."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time


class Stop:
    """Asked for once, running work has the grace to end; asked for again, none."""

    def __init__(self, grace_s: float) -> None:
        self.asked = False
        self.ends_at = math.inf
        """By `time.monotonic`."""
        self._grace_s = grace_s
        self._once = asyncio.Event()
        self._again = asyncio.Event()

    def ask(self) -> None:
        """Begin the grace; a second call ends it."""
        if self.asked:
            self._again.set()
        self.ends_at = time.monotonic() + (0.0 if self.asked else self._grace_s)
        self.asked = True
        self._once.set()

    async def grace_over(self) -> None:
        """Return when a stop was asked for and its grace is over."""
        await self._once.wait()
        await _until(self._again, self.ends_at - time.monotonic())

    async def rest(self, duration_s: float) -> None:
        """Sleep; the first `ask` ends it early."""
        if self.asked:
            await asyncio.sleep(duration_s)
        else:
            await _until(self._once, duration_s)


async def _until(event: asyncio.Event, at_most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()


def is_cancelled() -> bool:
    """Whether somebody cancelled the running task; what it raised instead must not hide that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
