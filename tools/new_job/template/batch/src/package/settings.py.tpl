"""Settings of this job: those of every batch job."""

from __future__ import annotations

from keda_jobs.batch import BatchSettings


class Settings(BatchSettings):
    """Environment of `python -m <package>`."""
