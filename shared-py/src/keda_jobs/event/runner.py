"""From a message to an outcome: read the event, run the handler, and let no exception out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Done, Failed, Outcome
from keda_jobs.errors import Permanent, Transient
from keda_jobs.event.job import Handler


class EventTooLarge(Permanent):
    """The event uses more than half of the server's max_payload, so its retry might not fit."""


class HandlerTimeout(Transient):
    """The handler ran longer than HANDLER_TIMEOUT_S."""


class Runner:
    """Runs one job's handler; `context` makes what the handler gets beside the event."""

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

    async def outcome(self, message: Message, most_bytes: int) -> Outcome:
        """The outcome of one try; this is where exceptions end."""
        try:
            if message.size > most_bytes:
                raise EventTooLarge(f"{message.size} bytes; at most {most_bytes} are read")
            event = self._event.decode(message.data)
            return Done(as_events(await self._run(event, message)))
        except Exception as error:
            return Failed(error)

    async def _run(self, event: Event, message: Message) -> object:
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                return await self._handler(event, self._context(message))
        except TimeoutError as error:
            if limit.expired():
                raise HandlerTimeout(f"no result after {self._timeout_s:g} s") from error
            raise


def as_events(result: object) -> tuple[Event, ...]:
    """What a handler returned, as events. Raises `TypeError` for anything else."""
    events = () if result is None else tuple(result) if isinstance(result, list | tuple) else (result,)
    for event in events:
        if not isinstance(event, Event):
            raise TypeError(
                f"the handler returned {type(event).__name__}; events, a list of them, or None are possible"
            )
        if not hasattr(event, "subject"):
            raise TypeError(f"{type(event).__name__} names no subject: class {type(event).__name__}(Event, subject=…)")
    return events
