"""Event jobs as their author declares them: name and events come from the handler's package and signature."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

from typing_extensions import TypeVar

from keda_jobs.domain.emitted import Emitted, Outputs
from keda_jobs.domain.event import Event
from keda_jobs.event.handler import Context, Handler, event_type, outputs_of
from keda_jobs.runtime.job import Job, Resources, job_name
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=JobSettings, default=JobSettings)
R = TypeVar("R", default=None)


@dataclass(frozen=True, slots=True)
class EventJob(Job):
    """Event job: `handler` runs for each message that carries an `event`."""

    kind: ClassVar[str] = "event"

    settings: type[JobSettings]
    handler: Handler
    event: type[Event]
    resources: Resources | None = None

    @property
    def outputs(self) -> Outputs:
        """Events that the handler's return annotation names. Raises `TypeError` where it leaves open which."""
        return outputs_of(self.handler)

    async def main(self, process: Process[Any]) -> None:
        """Consume messages until a shutdown is requested."""
        from keda_jobs.event.main import consume

        await consume(process, self.handler, self.resources)


def event_job(
    handler: Callable[[E, Context[S, R]], Awaitable[Emitted]],
    settings: type[S],
    *,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> EventJob:
    """Declare the job of `handler(event, context)`, an async function.

    Events it returns are published before the input is acked. In place of one it may return `later(event, delay_s)`.
    `resources` opens, from the settings, an async context manager for as long as the job runs. Its value is
    `Context.resources`. Raises `TypeError` when the first parameter is not annotated with an event.
    """
    return EventJob(job_name(handler), settings, handler, event_type(handler), resources)
