"""Trouble of the platform, as a process sees it: which part is unavailable, why, and since when."""

from __future__ import annotations

import math
import time
from typing import TypeVar


class Part:
    """Part of the platform that the process needs, such as the store. `reason` says why it is unavailable.

    Trouble that is not noted again ends after `fades_s`, for a part that the process may have no cause to try again.
    """

    def __init__(self, fades_s: float = math.inf) -> None:
        self.reason: str | None = None
        self.since = 0.0
        self._fades_s = fades_s
        self._noted_at = 0.0

    @property
    def active(self) -> bool:
        """True while the part is unavailable."""
        return self.reason is not None and time.monotonic() - self._noted_at < self._fades_s

    def began(self, reason: str) -> None:
        """Note that the part is unavailable, or a newer reason for it."""
        now = time.monotonic()
        if not self.active:
            self.since = now
        self.reason, self._noted_at = reason, now

    def ended(self) -> None:
        """Note that the part is available."""
        self.reason = None


P = TypeVar("P", bound=Part)


class Trouble:
    """Trouble of one process, over all parts of the platform. Readiness, metrics and the end of a hold read it."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def watch(self, part: P) -> P:
        """Count `part` from now on, and return it."""
        self._parts.append(part)
        return part

    def oldest(self, besides: Part | None = None) -> Part | None:
        """Return the part that has been unavailable for the longest time, if one is."""
        active = [part for part in self._parts if part.active and part is not besides]
        return min(active, key=lambda part: part.since, default=None)

    @property
    def reason(self) -> str | None:
        """Reason of the oldest trouble, None without any."""
        oldest = self.oldest()
        return oldest.reason if oldest else None

    @property
    def lasted_s(self) -> float:
        """Seconds since the oldest trouble began, 0 without any."""
        oldest = self.oldest()
        return time.monotonic() - oldest.since if oldest else 0.0
