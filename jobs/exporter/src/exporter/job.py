"""Job exporter: what it serves and its settings."""

from __future__ import annotations

from exporter.service import serve
from exporter.settings import Settings
from keda_jobs import service

JOB = service(serve, Settings)
