"""Long jobs as their author declares them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import TypeVar

from keda_jobs.domain.emitted import Emitted
from keda_jobs.domain.event import Event
from keda_jobs.event.handler import event_type
from keda_jobs.event.job import EventJob
from keda_jobs.long.handler import LongContext
from keda_jobs.runtime.job import job_name
from keda_jobs.runtime.process import Process
from keda_jobs.settings import LongSettings

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=LongSettings, default=LongSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class LongJob(EventJob):
    """Event job whose process takes one message, works on it, and ends."""

    kind: ClassVar[str] = "long"
    ends: ClassVar[bool] = True

    async def main(self, process: Process[Any]) -> None:
        """Work on one message, if there is one."""
        from keda_jobs.long.main import work

        await work(process, self.handler, self.resources)


def long_job(
    handler: Callable[[E, LongContext[S, R]], Awaitable[Emitted]],
    settings: type[S],
    *,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> LongJob:
    """Declare the long job of `handler(event, context)`, an async function. The rest is as for `event_job`.

    Raises `TypeError` when the first parameter is not annotated with an event.
    """
    return LongJob(job_name(handler), settings, handler, event_type(handler), resources)
