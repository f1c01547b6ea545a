"""Events that image-download reads and publishes."""

from __future__ import annotations

from pydantic import Field

from image_download.url import MAX_LENGTH
from keda_jobs import Event


class ImageDownload(Event, subject="image-download"):
    """Request to fetch the image at `url`."""

    url: str = Field(min_length=1, max_length=MAX_LENGTH)


class ImageDownloaded(Event, subject="image-downloaded"):
    """Notice that the image of `url` is in the bucket under `key`: its size, its type and its SHA-256 (hex)."""

    url: str
    key: str = Field(max_length=1024)
    content_type: str
    bytes: int
    sha256: str
