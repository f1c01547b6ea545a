"""A test does not wait for a platform in trouble."""

from __future__ import annotations

from typing import NoReturn

from keda_jobs.errors import PlatformError
from keda_jobs.runtime.shutdown import Shutdown


class FailOnWait(Shutdown):
    """The shutdown of a worker in a test: where a worker would rest, the test fails."""

    async def sleep(self, duration_s: float) -> NoReturn:
        """Raise `PlatformError`, in the context of the one that the handler raised."""
        raise PlatformError(f"a worker would wait {duration_s:.1f} s now, and then try again")
