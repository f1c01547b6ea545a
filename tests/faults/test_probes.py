"""A job that is busy answers its probes, or Kubernetes would kill it for working."""

from __future__ import annotations

import asyncio
from io import BytesIO

import aiohttp
import pytest
from PIL import Image

from stack import S3Server

from .processes import Declare, StartJob, reported
from .stream_view import NO_LAG, StreamView

pytestmark = pytest.mark.slow

PICTURES = 6


async def test_pictures_of_48_megapixels_leave_healthz_prompt(
    declare: Declare, start: StartJob, stream: StreamView, s3_server: S3Server
) -> None:
    await declare(ack_wait_s=3)
    file = BytesIO()
    Image.linear_gradient("L").resize((8000, 6000)).convert("RGB").save(file, "PNG", compress_level=1)
    originals = s3_server.bucket_folder / "images"
    originals.mkdir()
    keys = [f"images/{number}.png" for number in range(PICTURES)]
    for key in keys:
        (s3_server.bucket_folder / key).write_bytes(file.getvalue() + key.encode())
    job = await start("image-resize", ACK_WAIT_S="3")
    await stream.publish("image-downloaded", ({"key": key} for key in keys))

    probes = 0
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while await stream.lag("image-resize") != NO_LAG:
            async with session.get(f"{job.http_url}/healthz") as response:
                assert response.status == 200
            probes += 1
    # A loop that waited for its pictures would answer once or twice a picture.
    assert probes > 20 * PICTURES
    assert [(line["attempt"], line["outcome"]) for line in await reported(job, PICTURES)] == [(1, "acked")] * PICTURES
    assert len(list((s3_server.bucket_folder / "images_resized").iterdir())) == PICTURES
