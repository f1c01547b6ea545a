"""From a message to a result: read the event, run the handler, and let no exception out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Failed, HandlerResult, Succeeded
from keda_jobs.errors import Permanent, Transient
from keda_jobs.event.job import Handler
from keda_jobs.runtime.time_limit import limit_time


class EventTooLarge(Permanent):
    """The event uses more than half of the server's max_payload, so its retry might not fit."""


class HandlerTimeout(Transient):
    """The handler ran longer than HANDLER_TIMEOUT_S."""


class Runner:
    """Runner of one job's handler. `context` builds what the handler gets besides the event."""

    def __init__(
        self,
        event: type[Event],
        handler: Handler,
        context: Callable[[Message], Any],
        timeout_s: float,
    ) -> None:
        self._event = event
        self._handler = handler
        self._context = context
        self._timeout_s = timeout_s

    async def handle(self, message: Message, max_bytes: int) -> HandlerResult:
        """Run the handler on a message. Only here do exceptions become results."""
        try:
            if message.size > max_bytes:
                raise EventTooLarge(f"{message.size} bytes; at most {max_bytes} are read")
            event = self._event.decode(message.data)
            return Succeeded(as_events(await self._call(event, message)))
        except Exception as error:
            return Failed(error)

    async def _call(self, event: Event, message: Message) -> object:
        try:
            async with limit_time(self._timeout_s) as limit:
                return await self._handler(event, self._context(message))
        except TimeoutError as error:
            if limit.expired:
                raise HandlerTimeout(f"no result after {self._timeout_s:g} s") from error
            raise


def as_events(returned: object) -> tuple[Event, ...]:
    """Return as events what a handler returned. Raises `TypeError` for anything else."""
    events = () if returned is None else tuple(returned) if isinstance(returned, list | tuple) else (returned,)
    for event in events:
        if not isinstance(event, Event):
            raise TypeError(f"the handler returned {type(event).__name__}; return an event, a list of events, or None")
        if not hasattr(event, "subject"):
            raise TypeError(f"{type(event).__name__} names no subject: class {type(event).__name__}(Event, subject=…)")
    return events
