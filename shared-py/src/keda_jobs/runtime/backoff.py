"""Backoff while a part of the platform is unavailable."""

from __future__ import annotations

import logging
import random
import time

_FIRST_S = 0.5

log = logging.getLogger(__name__)


def backoff_s(tries: int, *, max_s: float) -> float:
    """Return the seconds to wait after `tries` failed tries: doubling, bounded, the upper half jittered.

    The jitter keeps the pods of one job from calling a recovering server at the same moment.
    """
    bound = min(max_s, _FIRST_S * 2.0 ** min(tries, 30))
    return bound * random.uniform(0.5, 1.0)


class Backoff:
    """One wait, shared by all tasks that need the platform. It doubles up to `max_s` seconds and is logged once."""

    def __init__(self, max_s: float = 15.0) -> None:
        self._max_s = max_s
        self._tries = 0
        self._until = 0.0

    @property
    def active(self) -> bool:
        """True while the last try failed."""
        return self._tries > 0

    @property
    def remaining_s(self) -> float:
        """Seconds until the current wait ends."""
        return max(0.0, self._until - time.monotonic())

    @property
    def waiting(self) -> bool:
        """True while a wait is running."""
        return self.remaining_s > 0

    def failed(self, reason: str) -> None:
        """Start a wait, unless one is running."""
        if self.waiting:
            return
        delay_s = backoff_s(self._tries, max_s=self._max_s)
        self._tries += 1
        self._until = time.monotonic() + delay_s
        log.warning("backing off %.1f s (attempt not counted): %s", delay_s, reason, extra={"outcome": "paused"})

    def reset(self) -> None:
        """Note that the platform answered."""
        if self._tries:
            log.info("resuming after %d failed tries", self._tries)
        self._tries = 0
        self._until = 0.0
