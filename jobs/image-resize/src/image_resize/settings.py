"""Settings of image-resize."""

from __future__ import annotations

from pydantic import ByteSize, Field

from keda_jobs.settings import JobSettings, StoreSettings


class Settings(JobSettings, StoreSettings):
    """Settings of the loop and the bucket, with the limits of one thumbnail."""

    resize_max_px: int = Field(200, ge=1, le=4096, description="longest side of a thumbnail, in pixels")
    resize_max_pixels: int = Field(
        100_000_000,
        ge=1,
        description="largest picture, in pixels. A worker process may use 10 bytes for each",
    )
    resize_max_bytes: ByteSize = Field(
        ByteSize(50 * 1024 * 1024), ge=1, description="largest original, in bytes or as `50MiB`"
    )
