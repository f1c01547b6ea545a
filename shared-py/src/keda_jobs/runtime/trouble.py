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
        return next(iter(_by_age(parts)), None)

    @property
    def reason(self) -> str | None:
        """Reason of the oldest trouble, None without any."""
        oldest = self.oldest()
        return oldest.reason if oldest else None

    def outlasting(self, limit_s: float) -> str | None:
        """Return all reasons, oldest first, once trouble that is not everybody's has lasted for `limit_s`.

        The oldest alone may be no more than the first sign, such as a fetch that failed as the connection was lost.
        """
        active = _by_age(self._parts)
        lasts = active and time.monotonic() - active[0].since >= limit_s
        return "; ".join(str(part.reason) for part in active) if lasts else None


def _by_age(parts: list[Part]) -> list[Part]:
    """List the parts that are unavailable, oldest trouble first."""
    return sorted((part for part in parts if part.active), key=lambda part: part.since)
