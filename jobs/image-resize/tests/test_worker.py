"""Thumbnails in a worker process: the event loop keeps running and errors come back."""

from __future__ import annotations

import asyncio
import os
import pickle
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from image_resize.errors import NotAPicture
from image_resize.resize import Thumbnail, make_thumbnail
from keda_jobs.errors import Permanent
from keda_jobs.runtime.cpu import CpuPool

MAX_PIXELS = 100_000_000


def encode(size: tuple[int, int], file_format: str, **options: Any) -> bytes:
    file = BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, file_format, **options)
    return file.getvalue()


async def test_a_worker_makes_the_same_thumbnail() -> None:
    data = encode((2000, 1000), "JPEG")
    result = await CpuPool(1)(make_thumbnail, data, 200, MAX_PIXELS)
    assert isinstance(result, Thumbnail)
    assert result == make_thumbnail(data, 200, MAX_PIXELS)


async def test_a_bad_picture_comes_back_as_permanent_with_its_reason() -> None:
    with pytest.raises(Permanent, match="no readable picture in one of"):
        await CpuPool(1)(make_thumbnail, b"<html>", 200, MAX_PIXELS)


def test_the_error_survives_pickling() -> None:
    with pytest.raises(Permanent) as raised:
        make_thumbnail(b"", 200, MAX_PIXELS)
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert (type(copy), str(copy)) == (NotAPicture, str(raised.value))


async def test_a_file_that_needs_too_much_memory_is_permanent_and_the_worker_survives() -> None:
    cpu = CpuPool(1)
    worker = await cpu(os.getpid)
    with pytest.raises(Permanent, match=r"more than 120 MB \(10 x RESIZE_MAX_PIXELS\)"):
        await cpu(make_thumbnail, encode((4000, 3000), "WEBP", method=0), 200, 12_000_000)
    assert (await cpu(make_thumbnail, encode((4000, 3000), "PNG"), 200, 12_000_000)).ext == "png"
    assert await cpu(os.getpid) == worker


async def test_the_event_loop_ticks_while_48_megapixels_are_decoded() -> None:
    cpu = CpuPool(1)
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


async def test_cancelling_a_decoding_kills_its_worker() -> None:
    cpu = CpuPool(1)
    worker = await cpu(os.getpid)
    data = encode((8000, 6000), "PNG", compress_level=1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await cpu(make_thumbnail, data, 200, MAX_PIXELS)
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
    assert (await cpu(make_thumbnail, encode((300, 300), "PNG"), 200, MAX_PIXELS)).width == 200
