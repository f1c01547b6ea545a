"""Library of keda-jobs: everything a background job needs besides its handler."""

from keda_jobs.domain.event import Event
from keda_jobs.errors import Permanent, PlatformError, RetryAfter, Transient
from keda_jobs.event.job import Context, event_job
from keda_jobs.runtime.job import run, service
from keda_jobs.settings import JobSettings, ProcessSettings, StoreSettings

__all__ = [
    "Context",
    "Event",
    "JobSettings",
    "Permanent",
    "PlatformError",
    "ProcessSettings",
    "RetryAfter",
    "StoreSettings",
    "Transient",
    "event_job",
    "run",
    "service",
]
