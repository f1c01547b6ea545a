"""A test does not wait for a platform in trouble."""

from __future__ import annotations

from typing import NoReturn

from keda_jobs.batch.stop import Stop
from keda_jobs.errors import PlatformError


class NobodyWaits(Stop):
    """The stop of a worker in a test: where a worker would rest, the test fails."""

    async def rest(self, duration_s: float) -> NoReturn:
        """Raise `PlatformError`, in the context of the one that the handler raised."""
        raise PlatformError(f"a worker would wait {duration_s:.1f} s now, and then try again")
