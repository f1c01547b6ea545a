"""From a message to a result: read the event, run the handler, encode what it returns, and let no exception out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Any

from keda_jobs.domain.event import EncodedEvent, Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Failed, HandlerQuit, HandlerResult, HandlerTimeout, Succeeded, failure_of
from keda_jobs.domain.subjects import due_subject
from keda_jobs.errors import Permanent
from keda_jobs.event.job import Handler, emitted_events
from keda_jobs.runtime.deadlines import Deadlines
from keda_jobs.runtime.time_limit import TimeLimit

_CANCEL_S = 5.0
"""Time for a cancelled handler to clean up. Then it is left behind, because no coroutine can be killed."""

log = logging.getLogger(__name__)


class EventTooLarge(Permanent):
    """The event uses more than half of the server's max_payload, so its retry might not fit."""


class UnreadableHeaders(Permanent):
    """The header block of the event does not begin with the line `NATS/1.0`."""


class NotARetry(Permanent):
    """The message is where retries arrive, but neither a job nor a replay sent it there."""


class Runner:
    """Runner of one job's handler. `context` builds what the handler gets besides the event.

    Raises `TypeError` for a handler whose annotation leaves open which events it returns.
    """

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
        self._deadlines = Deadlines()
        self._subjects = frozenset(event.subject for event in emitted_events(handler))

    async def handle(self, message: Message, max_bytes: int) -> HandlerResult:
        """Run the handler on a message. Only a shutdown cancels it: all else becomes a result.

        The handler has a task of its own. So its own `CancelledError` is none of the loop's, and one that ignores its
        cancellation holds up neither the loop nor its shutdown.
        """
        limit = TimeLimit(self._deadlines, self._timeout_s)
        attempt = limit.start(self._attempt(message, max_bytes))
        try:
            await limit.over
        except asyncio.CancelledError:
            await _end(attempt, message)
            raise
        finally:
            limit.stop()
        if not attempt.done():
            await _end(attempt, message)
            return Failed(HandlerTimeout(f"no result after {self._timeout_s:g} s"))
        if attempt.cancelled():
            return Failed(HandlerQuit("the handler cancelled its own task"))
        return attempt.result()

    async def _attempt(self, message: Message, max_bytes: int) -> HandlerResult:
        """Run the handler. Only here do exceptions become results."""
        try:
            if message.size > max_bytes:
                raise EventTooLarge(f"{message.size} bytes; at most {max_bytes} are read")
            if not message.has_readable_headers:
                raise UnreadableHeaders
            if message.subject.startswith(due_subject("")):
                raise NotARetry
            event = self._event.decode(message.data)
            returned = await self._handler(event, self._context(message))
            return Succeeded(encode_events(returned, self._subjects, max_bytes))
        except BaseException as error:
            return Failed(failure_of(error))


def encode_events(returned: object, subjects: Collection[str], max_bytes: int) -> tuple[EncodedEvent, ...]:
    """Encode what a handler returned. `subjects` are those that its annotation names.

    Raises `TypeError` for what is no such event, and `Permanent` for one that cannot be encoded or that no job reads.
    """
    events = () if returned is None else tuple(returned) if isinstance(returned, list | tuple) else (returned,)
    return tuple(_encode(event, subjects, max_bytes) for event in events)


def _encode(event: object, subjects: Collection[str], max_bytes: int) -> EncodedEvent:
    kind = type(event).__name__
    if not isinstance(event, Event):
        raise TypeError(f"the handler returned {kind}; return an event, a list of events, or None")
    subject: object = getattr(event, "subject", None)
    # NATS lets the job publish on these subjects only. Any other would be tried for ever.
    if not isinstance(subject, str) or subject not in subjects:
        raise TypeError(f"the handler returned {kind} with the subject {subject!r}, which its annotation does not name")
    data = event.encode()
    if len(data) > max_bytes:
        raise EventTooLarge(f"{kind} has {len(data)} bytes; at most {max_bytes} are read")
    return EncodedEvent(event, subject, data)


async def _end(attempt: asyncio.Task[HandlerResult], message: Message) -> None:
    """Cancel the handler, and wait for its clean-up."""
    attempt.cancel()
    await asyncio.wait((attempt,), timeout=_CANCEL_S)
    if not attempt.done():
        log.error("the handler ignores its cancellation and is left behind", extra={"msg_id": str(message.id)})
