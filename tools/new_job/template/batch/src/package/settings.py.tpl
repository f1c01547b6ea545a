"""Settings of this job: those of every batch job."""

from __future__ import annotations

from keda_jobs.batch import BatchSettings


class Settings(BatchSettings):
    """What `python -m <package>` reads from the environment."""
