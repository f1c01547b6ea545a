"""Tests do not wait for an unavailable platform."""

from __future__ import annotations

from typing import NoReturn

from keda_jobs.errors import PlatformError
from keda_jobs.runtime.shutdown import Shutdown


class FailOnWait(Shutdown):
    """Shutdown of a worker in a test. Where a worker would sleep, the test fails."""

    async def sleep(self, duration_s: float) -> NoReturn:
        """Raise `PlatformError`, in the context of the one that the handler raised."""
        raise PlatformError(f"a worker would wait {duration_s:.1f} s now, and then try again")
