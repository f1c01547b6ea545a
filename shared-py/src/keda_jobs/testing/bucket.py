"""Bucket in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from keda_jobs.storage import ObjectMissing, ObjectTooLarge


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Object in an `InMemoryBucket`."""

    data: bytes
    content_type: str = "application/octet-stream"


class InMemoryBucket:
    """Bucket without a server. Tests may read and fill `objects`."""

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self.objects = {key: StoredObject(data) for key, data in (objects or {}).items()}

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """Return the object's bytes. Raises `ObjectMissing`, `ObjectTooLarge`."""
        if key not in self.objects:
            raise ObjectMissing(key)
        data = self.objects[key].data
        if max_bytes is not None and len(data) > max_bytes:
            raise ObjectTooLarge(f"{key} has {len(data)} bytes; at most {max_bytes} are read")
        return data

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data` under `key`."""
        self.objects[key] = StoredObject(bytes(data), content_type)
