"""Answers of servers that are kept for a while, so that viewers who look at the same page share one reading."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from keda_jobs.ui.readings import EVERY_S

_KEPT = 20
# Reading again and again may take at most a hundredth of the time, as with the failed rows of `batch status --watch`.
_PAUSE_PER_READ = 100

T = TypeVar("T")


@dataclass(slots=True)
class _Entry(Generic[T]):
    answer: T | None = None
    fresh_until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeptAnswers(Generic[T]):
    """Answers by question. The last few questions are remembered."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    async def get(self, question: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Return the answer, which `read` reads where it is old. Raises as `read`."""
        entry = self._entries.setdefault(question, _Entry())
        self._entries.move_to_end(question)
        if len(self._entries) > _KEPT:
            self._entries.popitem(last=False)
        async with entry.lock:
            if entry.answer is None or time.monotonic() >= entry.fresh_until:
                began = time.monotonic()
                entry.answer = await read()
                ended = time.monotonic()
                entry.fresh_until = ended + max(EVERY_S / 2, _PAUSE_PER_READ * (ended - began))
            return entry.answer

    def forget(self) -> None:
        """Forget all answers, because an action has changed what they are about."""
        for entry in self._entries.values():
            entry.fresh_until = float("-inf")
