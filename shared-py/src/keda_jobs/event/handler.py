"""Handlers of events as their author writes them: what they get, and the events that their signature names."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic

from typing_extensions import TypeVar

from keda_jobs.domain.emitted import Emitted, Outputs
from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.runtime.cpu import Cpu
from keda_jobs.settings import JobSettings
from keda_jobs.storage import Bucket

S = TypeVar("S", bound=JobSettings, default=JobSettings)
R = TypeVar("R", default=None)

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


def event_type(handler: Handler) -> type[Event]:
    """Return the event that annotates the handler's first parameter. Raises `TypeError` without one."""
    first = next(iter(inspect.signature(handler).parameters), "")
    event = typing.get_type_hints(handler).get(first)
    if not (isinstance(event, type) and issubclass(event, Event)):
        raise TypeError(f"the first parameter of {handler.__qualname__} must be annotated with its Event")
    return event


def outputs_of(handler: Handler) -> Outputs:
    """Read the events that the handler's return annotation names. Raises `TypeError` as `Outputs.from_annotation`."""
    return Outputs.from_annotation(typing.get_type_hints(handler).get("return"), handler.__qualname__)
