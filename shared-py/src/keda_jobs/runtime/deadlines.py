"""Many deadlines on one timer of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadlines:
    """Deadlines that are seldom met. A timer of the loop for each would cost several times as much."""

    def __init__(self) -> None:
        self._due: dict[Callable[[], object], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def set(self, callback: Callable[[], object], duration_s: float) -> float:
        """Call `callback` after `duration_s`, unless it is cleared. Return when, by the clock of the loop."""
        when = self._due[callback] = asyncio.get_running_loop().time() + duration_s
        if self._timer is None or when < self._timer.when():
            self._arm(when)
        return when

    def clear(self, callback: Callable[[], object]) -> None:
        """Forget the deadline of `callback`, if it has one."""
        self._due.pop(callback, None)

    def _arm(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(when, self._check)

    def _check(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        for callback in [callback for callback, when in self._due.items() if when <= now]:
            del self._due[callback]
            callback()
        if self._due:
            self._arm(min(self._due.values()))
