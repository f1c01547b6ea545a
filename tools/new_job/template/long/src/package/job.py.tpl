"""Job <job>: its handler and its settings."""

from __future__ import annotations

from <package>.handler import handle
from <package>.settings import Settings
from keda_jobs.long import long_job

JOB = long_job(handle, Settings)
