"""Long readings that viewers ask for: they go on while somebody looks, and all who ask for the same share one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.ui.servers import SharedNats

_KEPT = 8
# The first page is there in less than a second, whatever is left to read.
_WAIT_S = 0.6
_EVERY_S = 1.0
_LOOKS_FOR_S = 10.0


class Lookup(Protocol):
    """Reading that fills itself while it runs, and can run again for what has changed."""

    async def run(self, connection: NatsConnection) -> None:
        """Read. Raises `JobError`."""


T = TypeVar("T", bound=Lookup)


class _Entry(Generic[T]):
    """Lookup with its task, while it runs."""

    def __init__(self, lookup: T) -> None:
        self.lookup = lookup
        self.task: asyncio.Task[None] | None = None
        self.ended_at = float("-inf")
        self._limit: asyncio.Timeout | None = None
        self._looked_at = time.monotonic()

    @property
    def is_forgotten(self) -> bool:
        """True if nobody has looked for a while."""
        return time.monotonic() - self._looked_at > _LOOKS_FOR_S

    @property
    def is_idle(self) -> bool:
        """True while it does not run."""
        return self.task is None or self.task.done()

    def cancel(self) -> None:
        """End it, if it runs."""
        if self.task:
            self.task.cancel()

    def look(self, nats: SharedNats) -> asyncio.Task[None]:
        """Note that somebody looks. Return its task, which may have ended a moment ago."""
        self._looked_at = time.monotonic()
        if self._limit and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time() + _LOOKS_FOR_S)
        if self.task is None or (self.is_idle and time.monotonic() - self.ended_at > _EVERY_S):
            self.task = asyncio.create_task(self._run(nats))
            # Nobody may come back for the error.
            self.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self.task

    async def _run(self, nats: SharedNats) -> None:
        try:
            async with asyncio.timeout(_LOOKS_FOR_S) as self._limit:
                await self.lookup.run(await nats.connection())
        except TimeoutError:
            # Nobody looks any more.
            return
        finally:
            self._limit = None
            self.ended_at = time.monotonic()


class Lookups(Generic[T]):
    """Lookups of one kind, by what was asked. Only the last few are kept."""

    def __init__(self, nats: SharedNats) -> None:
        self._nats = nats
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()

    async def look(self, question: Hashable, make: Callable[[], T], *, anew: bool = False) -> tuple[T, str]:
        """Return the lookup for a question, as far as it has got within a moment, and why it cannot go on, if so.

        It goes on as long as somebody looks. `anew` starts again what has ended.
        """
        entry = self._entries.get(question)
        if entry is None or (entry.is_idle and (anew or entry.is_forgotten)):
            entry = self._entries[question] = _Entry(make())
        self._entries.move_to_end(question)
        if len(self._entries) > _KEPT:
            self._entries.popitem(last=False)[1].cancel()
        task = entry.look(self._nats)
        await asyncio.wait({task}, timeout=_WAIT_S)
        error = task.exception() if task.done() and not task.cancelled() else None
        if error is None or isinstance(error, JobError):
            return entry.lookup, str(error or "")
        raise error

    async def close(self) -> None:
        """End all of them."""
        for entry in self._entries.values():
            entry.cancel()
        tasks = [entry.task for entry in self._entries.values() if entry.task]
        await asyncio.gather(*tasks, return_exceptions=True)
