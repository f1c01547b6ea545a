"""Thumbnails in a worker process: its limits hold, the event loop keeps running, and errors come back."""

from __future__ import annotations

import asyncio
import os
import pickle
import struct
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest
from pictures import tiff
from PIL import Image

from image_resize.errors import NotAPicture
from image_resize.resize import Thumbnail, make_thumbnail
from keda_jobs.errors import Permanent
from keda_jobs.runtime.cpu import CpuPool, CpuTimeExceeded, MemoryExceeded

MAX_PIXELS = 100_000_000


@pytest.fixture
async def cpu() -> AsyncIterator[CpuPool]:
    async with CpuPool(1) as pool:
        yield pool


def encode(size: tuple[int, int], file_format: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, file_format, **options)
    return file.getvalue()


async def test_a_worker_makes_the_same_thumbnail(cpu: CpuPool) -> None:
    data = encode((2000, 1000), "JPEG")
    result = await cpu(make_thumbnail, data, 200, MAX_PIXELS)
    assert isinstance(result, Thumbnail)
    assert result == make_thumbnail(data, 200, MAX_PIXELS)


async def test_a_bad_picture_comes_back_as_permanent_with_its_reason(cpu: CpuPool) -> None:
    with pytest.raises(Permanent, match="no readable picture in one of"):
        await cpu(make_thumbnail, b"<html>", 200, MAX_PIXELS)


def test_the_error_survives_pickling() -> None:
    with pytest.raises(Permanent) as raised:
        make_thumbnail(b"", 200, MAX_PIXELS)
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert (type(copy), str(copy)) == (NotAPicture, str(raised.value))


async def test_a_file_that_needs_too_much_memory_is_permanent_and_the_worker_survives(cpu: CpuPool) -> None:
    worker = await cpu(os.getpid)
    with pytest.raises(MemoryExceeded, match="make_thumbnail needs more than its limit of 120 MB of memory"):
        await cpu(make_thumbnail, encode((4000, 3000), "WEBP", method=0), 200, 12_000_000, memory=120_000_000)
    thumbnail = await cpu(make_thumbnail, encode((4000, 3000), "PNG"), 200, 12_000_000, memory=120_000_000)
    assert thumbnail.ext == "png"
    assert await cpu(os.getpid) == worker


def tiff_of_the_same_bytes(strips: int) -> bytes:
    """Build a TIFF whose strips all are the whole file. The bits of each are reversed before it is decoded."""
    size = 200 + 8 * strips
    offsets, counts = 200, 200 + 4 * strips
    tags = (259, 3, 1, 32773), (266, 3, 1, 2), (273, 4, strips, offsets), (278, 4, 1, 1), (279, 4, strips, counts)
    head = tiff(100, strips, *tags).ljust(offsets, b"\0")
    return head + struct.pack("<I", 0) * strips + struct.pack("<I", size) * strips


async def test_a_tiff_that_reads_the_same_bytes_again_and_again_is_permanent(cpu: CpuPool) -> None:
    data = tiff_of_the_same_bytes(100_000)
    assert len(data) < 1_000_000
    with pytest.raises(CpuTimeExceeded, match="make_thumbnail needs more than its limit of 1 s of CPU time"):
        await cpu(make_thumbnail, data, 200, MAX_PIXELS, cpu_s=1)
    assert (await cpu(make_thumbnail, encode((300, 300), "PNG"), 200, MAX_PIXELS)).width == 200


async def test_the_event_loop_ticks_while_48_megapixels_are_decoded(cpu: CpuPool) -> None:
    data = encode((8000, 6000), "PNG", compress_level=1)
    await cpu(os.getpid)
    ticks = 0
    decoding = asyncio.create_task(cpu(make_thumbnail, data, 200, MAX_PIXELS))
    while not decoding.done():
        await asyncio.wait([decoding], timeout=0.01)
        ticks += 1
    result = await decoding
    assert (result.width, result.height) == (200, 150)
    assert ticks > 10


async def test_cancelling_a_decoding_kills_its_worker(cpu: CpuPool) -> None:
    worker = await cpu(os.getpid)
    data = encode((8000, 6000), "PNG", compress_level=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await cpu(make_thumbnail, data, 200, MAX_PIXELS)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert (await cpu(make_thumbnail, encode((300, 300), "PNG"), 200, MAX_PIXELS)).width == 200
