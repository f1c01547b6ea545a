"""Object store as a handler sees it."""

from __future__ import annotations

from typing import Protocol

from keda_jobs.errors import Permanent, Transient


class ObjectMissing(Transient):
    """The bucket has no object under the key. A few deliveries, because a store may show a new object late."""

    def __init__(self, key: str) -> None:
        super().__init__(f"no object {key}", max_deliveries=3)


class ObjectTooLarge(Permanent):
    """The object is larger than the reader's limit."""


class Bucket(Protocol):
    """Object store as a handler sees it. The fake is `keda_jobs.testing.InMemoryBucket`.

    A failure of one object or key is `Transient`, or `RetryAfter` where the store says how long to wait. An unavailable
    store is no error of a handler: the call waits for it.
    """

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the object's bytes. Raises `ObjectMissing`, `ObjectTooLarge`, `Transient`, `RetryAfter`."""

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data` under `key` and replace what was there. Raises `Transient`, `RetryAfter`."""
