"""Job users-batch: its handler, its settings and its table."""

from __future__ import annotations

from keda_jobs.batch import batch_job
from users_batch.handler import normalize
from users_batch.settings import Settings

JOB = batch_job(normalize, Settings, table="users")
