"""Store of an event job's handlers: only the call that failed is repeated, not the handler."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.time_limit import suspended_time_limit
from keda_jobs.storage import Bucket

T = TypeVar("T")


class RetryingBucket:
    """Bucket that waits while the store is unavailable. `backoff` pauses all its callers at once.

    A store call has its own time limit, so HANDLER_TIMEOUT_S does not run meanwhile. A shutdown ends the wait.
    """

    def __init__(self, bucket: Bucket, backoff: Backoff, shutdown: Shutdown) -> None:
        self._bucket = bucket
        self._backoff = backoff
        self._shutdown = shutdown

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the object's bytes, as `Bucket.get`. Raises `StoreUnavailable` only at a shutdown."""
        return await self._retry(partial(self._bucket.get, key, max_bytes=max_bytes))

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data`, as `Bucket.put`. Raises `StoreUnavailable` only at a shutdown."""
        await self._retry(partial(self._bucket.put, key, data, content_type=content_type))

    async def _retry(self, call: Callable[[], Awaitable[T]]) -> T:
        with suspended_time_limit():
            return await retry_until(
                call, self._backoff, self._shutdown, lambda: 0.0 if self._shutdown.requested else math.inf
            )
