"""A job as its author declares it, and `run`, which makes a process of it."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, NoReturn

from keda_jobs.events import Event
from keda_jobs.settings import JobSettings

Handler = Callable[[Any, Any], Any]
Resources = Callable[[Any], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Job:
    """A handler with what it needs; name and event come from its package and its signature."""

    name: str
    handler: Handler
    event: type[Event]
    settings: type[JobSettings]
    resources: Resources | None = None


def run(handler: Handler, settings: type[JobSettings], *, resources: Resources | None = None) -> NoReturn:
    """Run the job of `handler` until SIGTERM or SIGINT, then exit: 0 drained, 1 lost NATS for good, 2 misconfigured.

    `handler(event, context)` is an async function; events it returns are published before the input is acked.
    `resources` makes, from the settings, an async context manager that is open while the job runs; its value is
    `Context.resources`.
    """
    # Worker processes of `Context.cpu` import the main module too, and need neither NATS nor HTTP.
    from keda_jobs.lifecycle import serve

    sys.exit(serve(Job(job_name(handler), handler, event_type(handler), settings, resources)))


def job_name(handler: Handler) -> str:
    """The handler's top-level package in kebab case: the name of job, consumer, image and manifest."""
    module = sys.modules[handler.__module__]
    package = (module.__package__ if module.__name__ == "__main__" else module.__name__) or module.__name__
    return package.partition(".")[0].replace("_", "-")


def event_type(handler: Handler) -> type[Event]:
    """The event that the handler's first parameter is annotated with. Raises `TypeError` without one."""
    first = next(iter(inspect.signature(handler).parameters), "")
    event = typing.get_type_hints(handler).get(first)
    if not (isinstance(event, type) and issubclass(event, Event)):
        raise TypeError(f"the first parameter of {handler.__qualname__} must be annotated with its Event")
    return event
