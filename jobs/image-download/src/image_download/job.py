"""Job image-download: its handler, its settings and the HTTP client it opens."""

from __future__ import annotations

from image_download.fetch import Fetcher
from image_download.handler import download
from image_download.settings import Settings
from keda_jobs import event_job

JOB = event_job(download, Settings, resources=Fetcher)
