"""The loop's rest while the platform is in trouble."""

from __future__ import annotations

import logging
import time

from keda_jobs.backoff import pause_s

log = logging.getLogger(__name__)


class Pause:
    """One rest, shared by all that wait for the platform: doubling up to `most_s`, said once a rest."""

    def __init__(self, most_s: float = 15.0) -> None:
        self._most_s = most_s
        self._tries = 0
        self._until = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the last word on the platform was trouble."""
        return self._tries > 0

    @property
    def left_s(self) -> float:
        """Seconds until the running rest ends."""
        return max(0.0, self._until - time.monotonic())

    @property
    def is_resting(self) -> bool:
        """Whether a rest is running."""
        return self.left_s > 0

    def trouble(self, reason: str) -> None:
        """Begin a rest, unless one is running."""
        if self.is_resting:
            return
        delay_s = pause_s(self._tries, most_s=self._most_s)
        self._tries += 1
        self._until = time.monotonic() + delay_s
        log.warning("paused for %.1f s, no try is used up: %s", delay_s, reason, extra={"outcome": "paused"})

    def over(self) -> None:
        """The platform answered."""
        if self._tries:
            log.info("going on after %d pauses", self._tries)
        self._tries = 0
        self._until = 0.0
