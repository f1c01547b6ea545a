"""Batch jobs: workers that claim rows of a table until none is claimable, and exit."""

from keda_jobs.batch.handler import BatchContext
from keda_jobs.batch.job import BatchJob, batch_job
from keda_jobs.settings import BatchSettings

__all__ = ["BatchContext", "BatchJob", "BatchSettings", "batch_job"]
