"""From a message to a result: read the event, run the handler, encode what it returns, and let no exception out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from keda_jobs.domain.emitted import EventTooLarge
from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Failed, HandlerQuit, HandlerResult, HandlerTimeout, Succeeded, failure_of
from keda_jobs.domain.subjects import due_subject
from keda_jobs.errors import JobError, Permanent
from keda_jobs.event.handler import Handler, outputs_of
from keda_jobs.runtime.deadlines import Deadlines
from keda_jobs.runtime.time_limit import TimeLimit

_CANCEL_S = 5.0
"""Time for a cancelled handler to clean up. Then it is left behind, because no coroutine can be killed."""

log = logging.getLogger(__name__)


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
        self._outputs = outputs_of(handler)

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
            return Failed(limit.error or HandlerTimeout(f"no result after {self._timeout_s:g} s"))
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
            return Succeeded(self._outputs.encode(returned, max_bytes))
        except BaseException as error:
            return Failed(failure_of(error))


def log_bug(result: HandlerResult, message: Message) -> None:
    """Log the traceback of an error that is none of keda-jobs."""
    if isinstance(result, Failed) and not isinstance(result.error, JobError):
        log.error("the handler raised", exc_info=result.error, extra={"msg_id": str(message.id)})


async def _end(attempt: asyncio.Task[HandlerResult], message: Message) -> None:
    """Cancel the handler, and wait for its clean-up."""
    attempt.cancel()
    await asyncio.wait((attempt,), timeout=_CANCEL_S)
    if not attempt.done():
        log.error("the handler ignores its cancellation and is left behind", extra={"msg_id": str(message.id)})
