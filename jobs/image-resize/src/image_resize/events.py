"""Events that image-resize reads."""

from __future__ import annotations

from pydantic import Field

from keda_jobs.domain.event import Event


class ImageDownloaded(Event, subject="image-downloaded"):
    """Notice that a picture is in the bucket. This job needs only its key."""

    key: str = Field(max_length=1024)
