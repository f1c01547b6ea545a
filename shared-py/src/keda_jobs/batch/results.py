"""What became of rows, until it is written."""

from __future__ import annotations

import asyncio
import contextlib

from keda_jobs.claims.queue import Done, Failure

# Transactions of thousands of rows cost little a row, and a worker that dies repeats only what ended since the last.
_MANY = 2500
_AT_LEAST_EVERY_S = 1.0


class ResultBuffer:
    """Filled by those who run rows, emptied by those who write."""

    def __init__(self) -> None:
        self.done: list[Done] = []
        self.failures: list[Failure] = []
        self._complete = False
        self._worth_writing = asyncio.Event()

    @property
    def exhausted(self) -> bool:
        """Whether all were taken and no more will come."""
        return self._complete and not self.done and not self.failures

    def wake_if_full(self) -> None:
        """Call the writers if there is enough to write."""
        if len(self.done) + len(self.failures) >= _MANY:
            self._worth_writing.set()

    def close(self) -> None:
        """Call the writers for the last time."""
        self._complete = True
        self._worth_writing.set()

    async def drain(self) -> tuple[list[Done], list[Failure]]:
        """All that came since the last call: a good many, or what a second brought, or the last."""
        if not self._complete:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_AT_LEAST_EVERY_S):
                    await self._worth_writing.wait()
            self._worth_writing.clear()
        taken = self.done, self.failures
        self.done, self.failures = [], []
        return taken
