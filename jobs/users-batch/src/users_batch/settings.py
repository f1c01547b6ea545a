"""Settings of users-batch: those of every batch job."""

from __future__ import annotations

from keda_jobs.batch import BatchSettings


class Settings(BatchSettings):
    """Settings of the worker."""
