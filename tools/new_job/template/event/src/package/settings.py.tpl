"""Settings of this job: those of every event job."""

from __future__ import annotations

from keda_jobs import JobSettings


class Settings(JobSettings):
    """Environment of `python -m <package>`."""
