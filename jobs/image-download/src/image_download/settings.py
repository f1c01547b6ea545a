"""Settings of image-download."""

from __future__ import annotations

from pydantic import ByteSize, Field, field_validator

from image_download import __version__
from image_download.guard import Endpoint, parse_endpoints
from keda_jobs import JobSettings, StoreSettings
from keda_jobs.settings import Seconds


class Settings(JobSettings, StoreSettings):
    """Settings of the loop and the bucket, with the limits of one download."""

    download_max_bytes: ByteSize = Field(
        ByteSize(50 * 1024 * 1024),
        gt=0,
        description="largest body, in bytes or as `50MiB`. Memory holds up to `CONCURRENCY` of them",
    )
    download_timeout_s: Seconds = Field(60, gt=0, description="time limit of one download, redirects and body included")
    download_max_redirects: int = Field(5, ge=0, le=20, description="redirects followed for one URL")
    download_user_agent: str = Field(
        f"keda-jobs-image-download/{__version__}",
        max_length=512,
        pattern=r"^[ -~]+$",
        description="User-Agent of the requests, in printable ASCII. Some sites want one with a contact",
    )
    download_allow_addresses: str = Field(
        "", description="exact `IP:port` pairs, separated by commas, that are allowed although they are not public"
    )

    @field_validator("download_allow_addresses")
    @classmethod
    def _check_endpoints(cls, text: str) -> str:
        parse_endpoints(text)
        return text

    @property
    def allowed_endpoints(self) -> frozenset[Endpoint]:
        """Pairs of `DOWNLOAD_ALLOW_ADDRESSES`."""
        return parse_endpoints(self.download_allow_addresses)
