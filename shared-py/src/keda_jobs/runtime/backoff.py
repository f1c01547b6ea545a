"""Backoff while a part of the platform is unavailable."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from keda_jobs.errors import JobError, PlatformError
from keda_jobs.runtime.shutdown import Shutdown, is_cancelled
from keda_jobs.runtime.trouble import Part

SHORT_S = 5.0
"""Longest wait where a try costs the server next to nothing, and claimed rows or messages wait for it."""
_FIRST_S = 0.5

T = TypeVar("T")
log = logging.getLogger(__name__)


def backoff_s(tries: int, *, max_s: float) -> float:
    """Return the seconds to wait after `tries` failed tries: doubling, bounded, the upper half jittered.

    The jitter keeps the pods of one job from calling a recovering server at the same moment.
    """
    bound = min(max_s, _FIRST_S * 2.0 ** min(tries, 30))
    return bound * random.uniform(0.5, 1.0)


class Backoff(Part):
    """One wait, shared by all tasks that need one part of the platform. It doubles up to `max_s` seconds."""

    def __init__(self, max_s: float = 15.0, on_recovery: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._max_s = max_s
        self._on_recovery = on_recovery
        self._tries = 0
        self._until = 0.0
        self._asked_until = 0.0

    @property
    def remaining_s(self) -> float:
        """Seconds until the current wait ends."""
        return max(0.0, self._until - time.monotonic())

    @property
    def waiting(self) -> bool:
        """True while a wait is running."""
        return self.remaining_s > 0

    def failed(self, reason: str, asked_s: float = 0.0) -> None:
        """Start a wait, unless one is running. Each wait is logged once.

        A server that asked for `asked_s` seconds gets them, and the usual wait on top, which spreads the pods.
        """
        self.began(reason)
        now = time.monotonic()
        self._asked_until = max(self._asked_until, now + asked_s)
        if self._until > now and self._until >= self._asked_until:
            return
        delay_s = asked_s + backoff_s(self._tries, max_s=self._max_s)
        self._tries += 1
        self._until = now + delay_s
        log.warning("backing off %.1f s (attempt not counted): %s", delay_s, reason, extra={"outcome": "paused"})

    async def wait(self, reason: str, shutdown: Shutdown, deadline: float = math.inf, *, asked_s: float = 0.0) -> None:
        """Wait after a failed try. A shutdown ends the wait, and so does the deadline, by `time.monotonic`."""
        self.failed(reason, asked_s)
        await shutdown.sleep(min(self.remaining_s, deadline - time.monotonic()))

    async def outlast(self, shutdown: Shutdown) -> None:
        """Wait for the end of the current wait, if there is one. A shutdown ends it."""
        if self.waiting and not shutdown.requested:
            await shutdown.sleep(self.remaining_s)

    def reset(self) -> None:
        """Note that the platform answered. It was asked before a wait that a server asked for, so that goes on."""
        if not self.active or time.monotonic() < self._asked_until:
            return
        self.ended()
        log.info("resuming after %d failed tries", self._tries)
        self._tries = 0
        self._until = 0.0
        self._on_recovery()


async def retry_until(
    call: Callable[[], Awaitable[T]],
    backoff: Backoff,
    shutdown: Shutdown,
    deadline: Callable[[], float] = lambda: math.inf,
) -> T:
    """Retry `call` until the time that `deadline` returns (by `time.monotonic`), and run it at least once.

    A shutdown ends the wait between two tries. Raises `PlatformError` after the deadline.
    """
    while True:
        try:
            result = await call()
        except PlatformError as error:
            if is_cancelled():  # and the rollback found a dead connection
                raise asyncio.CancelledError from error
            if time.monotonic() >= deadline():
                raise
            await backoff.wait(str(error), shutdown, deadline())
        except JobError:  # an answer too
            backoff.reset()
            raise
        else:
            backoff.reset()
            return result
