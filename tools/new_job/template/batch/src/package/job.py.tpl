"""Job <job>: its handler, its settings and its table."""

from __future__ import annotations

from <package>.handler import handle
from <package>.settings import Settings
from keda_jobs.batch import batch_job

JOB = batch_job(handle, Settings, table="<table>")
