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
        self._everybodys: list[Part] = []

    def watch(self, part: P, *, is_everybodys: bool = False) -> P:
        """Count `part` from now on, and return it. Trouble that is everybody's does not end the process.

        Where every process has the same trouble, such as a full stream, a restart would help none and cost deliveries.
        """
        (self._everybodys if is_everybodys else self._parts).append(part)
        return part

    def oldest(self, besides: Part | None = None) -> Part | None:
        """Return the part that has been unavailable for the longest time, if one is."""
        parts = [part for part in self._parts + self._everybodys if part is not besides]
        return _oldest(parts)

    @property
    def reason(self) -> str | None:
        """Reason of the oldest trouble, None without any."""
        oldest = self.oldest()
        return oldest.reason if oldest else None

    def outlasting(self, limit_s: float) -> str | None:
        """Return the reason of trouble that has lasted for `limit_s` and is not everybody's, if there is one."""
        oldest = _oldest(self._parts)
        return oldest.reason if oldest and time.monotonic() - oldest.since >= limit_s else None


def _oldest(parts: list[Part]) -> Part | None:
    return min((part for part in parts if part.active), key=lambda part: part.since, default=None)
