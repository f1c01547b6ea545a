"""Settings of this job."""

from __future__ import annotations

from keda_jobs.settings import <Base>


class Settings(<Base>):
    """Environment of `python -m <package>`."""
