"""Handler of image-resize: reads the original and stores its thumbnail."""

from __future__ import annotations

import hashlib
import re

from image_resize.errors import ForeignKey
from image_resize.events import ImageDownloaded
from image_resize.resize import BYTES_PER_PIXEL, CPU_S, make_thumbnail
from image_resize.settings import Settings
from keda_jobs import Context

# Excludes the job's own output (`images_resized/`) and names that a path would resolve, such as `..`.
_ORIGINAL = re.compile(r"images/([0-9a-z_-][0-9a-z._-]*)")
# What decoders use whatever the size of the picture.
_LEAST_MEMORY = 64 * 1024 * 1024
_CONTENT_HASH = re.compile(r"([0-9a-f]{64})\.[0-9a-z]+")


async def resize(event: ImageDownloaded, job: Context[Settings]) -> None:
    """Store a thumbnail of the picture at `event.key` as `images_resized/<sha256>.<ext>`."""
    name = _original_name(event.key)
    settings = job.settings
    original = await job.store.get(event.key, max_bytes=settings.resize_max_bytes)
    thumbnail = await job.cpu(
        make_thumbnail,
        original,
        settings.resize_max_px,
        settings.resize_max_pixels,
        memory=max(_LEAST_MEMORY, BYTES_PER_PIXEL * settings.resize_max_pixels),
        cpu_s=CPU_S,
    )
    key = f"images_resized/{_content_hash(name, original)}.{thumbnail.ext}"
    await job.store.put(key, thumbnail.data, content_type=thumbnail.content_type)


def _original_name(key: str) -> str:
    match = _ORIGINAL.fullmatch(key)
    if match is None:
        raise ForeignKey(
            f"{key[:100]!r} is not the key of an original: images/ followed by a-z, 0-9, dot, dash, underscore"
        )
    return match[1]


def _content_hash(name: str, data: bytes) -> str:
    """Return the SHA-256 of the original: from its name, or computed where the name is not a hash."""
    match = _CONTENT_HASH.fullmatch(name)
    return match[1] if match else hashlib.sha256(data).hexdigest()
