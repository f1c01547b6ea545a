"""Event jobs as their author declares them: name and events come from the handler's package and signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from typing_extensions import TypeVar

from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import is_literal
from keda_jobs.runtime.cpu import Cpu
from keda_jobs.runtime.job import Job, Resources, job_name
from keda_jobs.settings import JobSettings
from keda_jobs.storage import Bucket

if TYPE_CHECKING:
    from keda_jobs.runtime.process import Process

E = TypeVar("E", bound=Event)
S = TypeVar("S", bound=JobSettings, default=JobSettings)
R = TypeVar("R", default=None)

Emitted = Event | Sequence[Event] | None
Handler = Callable[[Any, Any], Awaitable[Emitted]]


@dataclass(frozen=True, slots=True)
class Context(Generic[S, R]):
    """Context of one attempt at a message.

    `cpu` runs a function in a worker process. `resources` is what the job opened at start (see `event_job`).
    """

    settings: S
    message: Message
    cpu: Cpu
    resources: R
    bucket: Bucket | None = None

    @property
    def store(self) -> Bucket:
        """Bucket of the job's `StoreSettings`. Raises `TypeError` for a job without them."""
        if self.bucket is None:
            raise TypeError("no store: let the job's Settings inherit from StoreSettings too")
        return self.bucket


@dataclass(frozen=True, slots=True)
class EventJob(Job):
    """Event job: `handler` runs for each message that carries an `event`."""

    kind: ClassVar[str] = "event"

    settings: type[JobSettings]
    handler: Handler
    event: type[Event]
    resources: Resources | None = None

    @property
    def emitted(self) -> list[type[Event]]:
        """Events that the handler's return annotation names. Raises `TypeError` where it leaves open which."""
        return emitted_events(self.handler)

    async def main(self, process: Process[Any]) -> None:
        """Consume messages until a shutdown is requested."""
        from keda_jobs.event.main import consume

        await consume(self, process)


def event_job(
    handler: Callable[[E, Context[S, R]], Awaitable[Emitted]],
    settings: type[S],
    *,
    resources: Callable[[S], AbstractAsyncContextManager[R]] | None = None,
) -> EventJob:
    """Declare the job of `handler(event, context)`, an async function.

    Events it returns are published before the input is acked. `resources` opens, from the settings, an async context
    manager for as long as the job runs. Its value is `Context.resources`. Raises `TypeError` when the first parameter
    is not annotated with an event.
    """
    return EventJob(job_name(handler), settings, handler, event_type(handler), resources)


def event_type(handler: Handler) -> type[Event]:
    """Return the event that annotates the handler's first parameter. Raises `TypeError` without one."""
    first = next(iter(inspect.signature(handler).parameters), "")
    event = typing.get_type_hints(handler).get(first)
    if not (isinstance(event, type) and issubclass(event, Event)):
        raise TypeError(f"the first parameter of {handler.__qualname__} must be annotated with its Event")
    return event


def emitted_events(handler: Handler) -> list[type[Event]]:
    """List the events that the handler's return annotation names.

    Raises `TypeError` where it leaves open which, and for a subject that cannot be published on.
    """
    named = dict.fromkeys(_leaves(typing.get_type_hints(handler).get("return")))
    for event in named:
        if not (isinstance(event, type) and issubclass(event, Event) and hasattr(event, "subject")):
            raise TypeError(f"the events that {handler.__qualname__} returns must be named in its annotation")
        if not is_literal(event.subject):
            raise TypeError(f"the subject {event.subject!r} of {event.__name__} cannot be published on")
    return list(named)


def _leaves(annotation: Any) -> list[Any]:
    """List the types at the ends of an annotation, such as `A` and `B` in `list[A | B] | None`."""
    if annotation in (type(None), Ellipsis):
        return []
    arguments = typing.get_args(annotation)
    return [leaf for argument in arguments for leaf in _leaves(argument)] if arguments else [annotation]
