"""A job as its author declares it: name and event come from the handler's package and signature."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from keda_jobs.domain.event import Event
from keda_jobs.settings import JobSettings

Result = Event | Sequence[Event] | None
Handler = Callable[[Any, Any], Awaitable[Result]]
Resources = Callable[[Any], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """A handler with what it needs to run.

    `resources` makes, from the settings, an async context manager that is open while the job runs.
    """

    name: str
    handler: Handler
    event: type[Event]
    settings: type[JobSettings]
    resources: Resources | None = None


def event_type(handler: Handler) -> type[Event]:
    """The event that the handler's first parameter is annotated with. Raises `TypeError` without one."""
    first = next(iter(inspect.signature(handler).parameters), "")
    event = typing.get_type_hints(handler).get(first)
    if not (isinstance(event, type) and issubclass(event, Event)):
        raise TypeError(f"the first parameter of {handler.__qualname__} must be annotated with its Event")
    return event


def emitted_types(handler: Handler) -> list[type[Event]]:
    """The events that the handler's return annotation names: one, several in a list or a union, or none.

    Raises `TypeError` where the annotation leaves open which.
    """
    named = dict.fromkeys(_leaves(typing.get_type_hints(handler).get("return")))
    for event in named:
        if not (isinstance(event, type) and issubclass(event, Event) and hasattr(event, "subject")):
            raise TypeError(f"the events that {handler.__qualname__} returns must be named in its annotation")
    return list(named)


def _leaves(annotation: Any) -> list[Any]:
    """What stands in an annotation at its ends, such as `A` and `B` in `list[A | B] | None`."""
    if annotation in (type(None), Ellipsis):
        return []
    arguments = typing.get_args(annotation)
    return [leaf for argument in arguments for leaf in _leaves(argument)] if arguments else [annotation]
