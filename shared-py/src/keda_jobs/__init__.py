"""Library of keda-jobs: everything a background job needs besides its handler.

Names are imported when they are used, because an application that only sends events has no need of the rest.
"""

from typing import TYPE_CHECKING

from keda_jobs.lazy import importer

if TYPE_CHECKING:
    from keda_jobs.domain.emitted import Later, later
    from keda_jobs.domain.event import Event
    from keda_jobs.errors import Permanent, PlatformError, RetryAfter, Transient
    from keda_jobs.event.handler import Context
    from keda_jobs.event.job import event_job
    from keda_jobs.runtime.job import service
    from keda_jobs.runtime.start import run
    from keda_jobs.settings import JobSettings, ProcessSettings, StoreSettings

__all__ = [
    "Context",
    "Event",
    "JobSettings",
    "Later",
    "Permanent",
    "PlatformError",
    "ProcessSettings",
    "RetryAfter",
    "StoreSettings",
    "Transient",
    "event_job",
    "later",
    "run",
    "service",
]

__getattr__ = importer(
    __name__,
    {
        "Context": "event.handler",
        "Event": "domain.event",
        "JobSettings": "settings",
        "Later": "domain.emitted",
        "Permanent": "errors",
        "PlatformError": "errors",
        "ProcessSettings": "settings",
        "RetryAfter": "errors",
        "StoreSettings": "settings",
        "Transient": "errors",
        "event_job": "event.job",
        "later": "domain.emitted",
        "run": "runtime.start",
        "service": "runtime.job",
    },
)
