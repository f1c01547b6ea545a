"""Services: jobs that run as one process and decide themselves what they do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from keda_jobs.runtime.job import Job, job_name
from keda_jobs.settings import ProcessSettings

if TYPE_CHECKING:
    from keda_jobs.runtime.process import Process

S = TypeVar("S", bound=ProcessSettings)


@dataclass(frozen=True, slots=True)
class Service(Job):
    """Service whose whole work is `serve`."""

    kind: ClassVar[str] = "service"

    serve: Callable[[Process[Any]], Awaitable[None]]

    async def main(self, process: Process[Any]) -> None:
        """Serve until a shutdown is requested."""
        await self.serve(process)


def service(serve: Callable[[Process[S]], Awaitable[None]], settings: type[S]) -> Service:
    """Declare the service whose work is `serve(process)`, an async function that returns on a shutdown."""
    return Service(job_name(serve), settings, serve)
