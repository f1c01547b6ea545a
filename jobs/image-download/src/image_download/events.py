"""What image-download reads and writes."""

from __future__ import annotations

from pydantic import Field

from image_download.url import MAX_LENGTH
from keda_jobs import Event


class ImageDownload(Event, subject="image-download"):
    """Please fetch the image at `url`."""

    url: str = Field(min_length=1, max_length=MAX_LENGTH)


class ImageDownloaded(Event, subject="image-downloaded"):
    """The image of `url` is in the bucket under `key`: `bytes` of `content_type`, with this SHA-256 (hex)."""

    url: str
    key: str = Field(max_length=1024)
    content_type: str
    bytes: int
    sha256: str
