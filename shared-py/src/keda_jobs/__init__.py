"""The house of keda-jobs: everything a background job needs besides its handler."""

from keda_jobs.domain.event import Event
from keda_jobs.errors import Permanent, PlatformError, RetryAfter, Transient
from keda_jobs.event.context import Context
from keda_jobs.event.main import run
from keda_jobs.settings import JobSettings, StoreSettings

__all__ = [
    "Context",
    "Event",
    "JobSettings",
    "Permanent",
    "PlatformError",
    "RetryAfter",
    "StoreSettings",
    "Transient",
    "run",
]
