"""Settings of this job."""

from __future__ import annotations

from pydantic import Field

from keda_jobs.settings import LongSettings


class Settings(LongSettings):
    """Environment of `python -m <package>`."""

    steps: int = Field(20, ge=1, description="steps of the work, a second each")
