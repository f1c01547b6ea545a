"""Handler of image-download: fetches the body, recognizes its format, stores it and returns the next event."""

from __future__ import annotations

import asyncio
import hashlib

from image_download.events import ImageDownload, ImageDownloaded
from image_download.fetch import Fetcher
from image_download.settings import Settings
from image_download.sniff import sniff
from keda_jobs import Context

# Hashing releases the GIL. Below this size (about a millisecond) a thread costs more than it saves.
_HASH_IN_THREAD = 1024 * 1024


async def download(event: ImageDownload, job: Context[Settings, Fetcher]) -> ImageDownloaded:
    """Store the image behind `event.url` at `images/<sha256>.<extension of the detected format>`."""
    body = await job.resources.fetch(event.url)
    image = sniff(body)
    sha256 = await _sha256(body)
    key = f"images/{sha256}.{image.extension}"
    await job.store.put(key, body, content_type=image.content_type)
    return ImageDownloaded(url=event.url, key=key, content_type=image.content_type, bytes=len(body), sha256=sha256)


async def _sha256(body: bytearray) -> str:
    if len(body) > _HASH_IN_THREAD:
        return (await asyncio.to_thread(hashlib.sha256, body)).hexdigest()
    return hashlib.sha256(body).hexdigest()
