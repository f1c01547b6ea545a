"""Concurrent puts of one key: one upload at a time, and one for all that bring the same bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from keda_jobs.errors import JobError


class _Upload:
    """Running upload. `error` is its failure, `is_complete` tells it from one that was cancelled."""

    def __init__(self, data: bytes | bytearray, content_type: str) -> None:
        self.data = data
        self.content_type = content_type
        self.ended = asyncio.Event()
        self.is_complete = False
        self.error: JobError | None = None

    def serves(self, data: bytes | bytearray, content_type: str) -> bool:
        return self.is_complete and self.content_type == content_type and self.data == data


class Uploads:
    """Uploads of a process that are running now. R2 takes one write a second for each key."""

    def __init__(self) -> None:
        self._running: dict[str, _Upload] = {}

    async def run(
        self, key: str, data: bytes | bytearray, content_type: str, upload: Callable[[], Awaitable[None]]
    ) -> None:
        """Run `upload`, or wait for a running one that stores the same. Raises what the upload raises."""
        while (other := self._running.get(key)) is not None:
            await other.ended.wait()
            if other.serves(data, content_type):
                if other.error is not None:
                    raise other.error
                return
        mine = self._running[key] = _Upload(data, content_type)
        try:
            await upload()
            mine.is_complete = True
        except JobError as error:
            mine.is_complete, mine.error = True, error
            raise
        finally:
            del self._running[key]
            mine.ended.set()
