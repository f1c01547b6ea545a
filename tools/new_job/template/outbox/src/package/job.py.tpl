"""Job <job>: its handler, its settings and its table. Rows that were sent are deleted."""

from __future__ import annotations

from <package>.handler import send
from <package>.settings import Settings
from keda_jobs.batch import batch_job

JOB = batch_job(send, Settings, table="<table>", delete_completed=True)
