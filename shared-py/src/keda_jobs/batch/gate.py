"""Gate that rows of a worker wait at while their results could not be written."""

from __future__ import annotations

import asyncio


class Gate:
    """Gate shared by the batches of one worker. A change wakes all waiting tasks, which check whether to go on."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        """Wake all that wait: an answer of the database has come, or a shutdown was requested."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next change."""
        await self._changed.wait()
