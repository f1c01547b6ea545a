"""Jobs of any kind, as the `job.py` of their package declares them: `JOB = event_job(…)`, `batch_job(…)`, `service(…)`.

Nothing here needs NATS, PostgreSQL or HTTP, because worker processes of `cpu` import the main module of a job too.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from keda_jobs.domain.emitted import Outputs
from keda_jobs.runtime.process import Process
from keda_jobs.settings import ProcessSettings

S = TypeVar("S", bound=ProcessSettings)

Resources = Callable[[Any], AbstractAsyncContextManager[Any]]
"""Opens, from the settings, an async context manager for as long as the process runs."""


@dataclass(frozen=True, slots=True)
class Job(ABC):
    """Job of some kind. Its name is also that of image and manifest."""

    kind: ClassVar[str]
    ends: ClassVar[bool] = False
    """True for a kind whose process ends when no work is left."""

    name: str
    settings: type[ProcessSettings]

    @property
    def outputs(self) -> Outputs:
        """Events that the job sends, at once and later."""
        return Outputs()

    @abstractmethod
    async def main(self, process: Process[Any]) -> None:
        """Do the work until none is left or a shutdown is requested."""


@dataclass(frozen=True, slots=True)
class Service(Job):
    """Service whose whole work is `serve`."""

    kind: ClassVar[str] = "service"

    serve: Callable[[Process[Any]], Awaitable[None]]

    async def main(self, process: Process[Any]) -> None:
        """Serve until a shutdown is requested."""
        await self.serve(process)


def job_name(function: Callable[..., Any]) -> str:
    """Return the top-level package of `function` in kebab case: the name of job, consumer, image and manifest."""
    module = sys.modules[function.__module__]
    package = (module.__package__ if module.__name__ == "__main__" else module.__name__) or module.__name__
    return package.partition(".")[0].replace("_", "-")


def service(serve: Callable[[Process[S]], Awaitable[None]], settings: type[S]) -> Service:
    """Declare the service whose work is `serve(process)`, an async function that returns on a shutdown."""
    return Service(job_name(serve), settings, serve)
