"""The events this job reads."""

from __future__ import annotations

from pydantic import Field

from keda_jobs.domain.event import Event


class ImageDownloaded(Event, subject="image-downloaded"):
    """A picture lies in the bucket; its other fields are of no use here."""

    key: str = Field(max_length=1024)
