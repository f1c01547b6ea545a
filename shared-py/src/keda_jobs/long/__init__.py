"""Long jobs: event jobs whose process works on one message, for hours if need be, and ends."""

from keda_jobs.long.handler import LongContext
from keda_jobs.long.job import LongJob, long_job
from keda_jobs.settings import LongSettings

__all__ = ["LongContext", "LongJob", "LongSettings", "long_job"]
