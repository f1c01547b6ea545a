"""Comparison of the objects below a prefix with those of the same keys without it. Memory does not grow with either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from keda_jobs.storage.bucket import ObjectMissing
from keda_jobs.storage.s3 import ObjectInfo, S3Bucket

CONNECTIONS = 8
"""Objects that are compared at once."""

_PART = 4 * 2**20


class Verdict(StrEnum):
    """Result of the comparison of one object."""

    EQUAL = "equal"
    DIFFERENT = "different"
    MISSING = "missing"
    """There is no object without the prefix."""


@dataclass(frozen=True, slots=True)
class Compared:
    """Key without the prefix, the sizes of both objects in bytes, and the verdict."""

    key: str
    verdict: Verdict
    size: int
    live_size: int | None


async def compare(bucket: S3Bucket, prefix: str) -> AsyncGenerator[list[Compared]]:
    """Yield a page of results after the other, by key. Raises `StoreUnavailable`, `Transient`, `RetryAfter`."""
    slots = asyncio.Semaphore(CONNECTIONS)

    async def one(info: ObjectInfo) -> Compared:
        async with slots:
            return await _compare(bucket, info, info.key.removeprefix(prefix))

    async with aclosing(bucket.pages(prefix)) as pages:
        async for page in pages:
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(info)) for info in page]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures
            yield [task.result() for task in tasks]


async def _compare(bucket: S3Bucket, side: ObjectInfo, key: str) -> Compared:
    try:
        live = await bucket.info(key)
        is_equal = side.size == live.size and (side.etag == live.etag or await _have_same_bytes(bucket, side, live))
    except ObjectMissing:
        return Compared(key, Verdict.MISSING, side.size, None)
    return Compared(key, Verdict.EQUAL if is_equal else Verdict.DIFFERENT, side.size, live.size)


async def _have_same_bytes(bucket: S3Bucket, one: ObjectInfo, other: ObjectInfo) -> bool:
    """Compare part by part: hashes may differ where bytes do not, such as after an upload in parts."""
    for start in range(0, one.size, _PART):
        if await bucket.part(one.key, start, _PART) != await bucket.part(other.key, start, _PART):
            return False
    return True
