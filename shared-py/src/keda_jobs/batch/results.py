"""Outcomes of rows, buffered until they are written."""

from __future__ import annotations

import asyncio

from keda_jobs.claims.rows import CompletedRow, Failure
from keda_jobs.runtime.shutdown import wait_for

# A transaction of thousands of rows costs little per row, and a worker that dies repeats only the rows since the last.
_MANY = 2500
_MAX_DELAY_S = 1.0


class ResultBuffer:
    """Buffer between the tasks that run rows and the tasks that write their outcomes."""

    def __init__(self) -> None:
        self.completed: list[CompletedRow] = []
        self.failures: list[Failure] = []
        self._closed = False
        self._ready = asyncio.Event()

    @property
    def exhausted(self) -> bool:
        """True when the buffer is closed and empty."""
        return self._closed and not self.completed and not self.failures

    def wake_if_full(self) -> None:
        """Wake the writers if there is enough to write."""
        if len(self.completed) + len(self.failures) >= _MANY:
            self._ready.set()

    def close(self) -> None:
        """Wake the writers for the last time."""
        self._closed = True
        self._ready.set()

    async def drain(self) -> tuple[list[CompletedRow], list[Failure]]:
        """Wait until the buffer is full or closed, at most a second, and empty it."""
        if not self._closed:
            await wait_for(self._ready, _MAX_DELAY_S)
            self._ready.clear()
        drained = self.completed, self.failures
        self.completed, self.failures = [], []
        return drained
