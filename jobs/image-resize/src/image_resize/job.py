"""Job image-resize: its handler and its settings."""

from __future__ import annotations

from image_resize.handler import resize
from image_resize.settings import Settings
from keda_jobs import event_job

JOB = event_job(resize, Settings)
