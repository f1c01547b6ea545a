"""Requests that wait for the server's answer, all on one inbox: publishes and acks.

nats-py makes a random inbox name, two futures and a timer for each. That is a fifth of the time that a loop without any
other work spends on a message. And it lets a publish without the right to it wait for an answer that never comes.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError

from keda_jobs.jetstream.client import NO_RESPONDERS, received_headers
from keda_jobs.runtime.deadlines import Deadlines

# nats-py reports the server's words in lower case. A refused ack is left to its timeout: it slows down a loop that can
# finish nothing.
_REFUSAL = re.compile(r'permissions violation for publish to "(?!\$js\.ack\.)(.+)"')


class AnswerLost(ConnectionClosedError):
    """The connection was lost before the answer came."""


class NoRight(NatsError):
    """The user has no right to publish on the subject, so the server has thrown the message away."""


class _Waiting(NamedTuple):
    subject: str
    answer: asyncio.Future[Msg]

    def fail(self, error: type[Exception]) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Replies:
    """Requests on one connection, and its one inbox for all answers."""

    def __init__(self, client: Client, timeout_s: float) -> None:
        """Wait up to `timeout_s` for each answer."""
        self._client = client
        self._timeout_s = timeout_s
        self._inbox = ""
        self._number = 0
        self.answered_at = 0.0
        """When the server last answered, by `time.monotonic`."""
        self._waiting: dict[str, _Waiting] = {}
        self._refused: Counter[str] = Counter()
        self._deadlines = Deadlines()

    async def request(self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None) -> Msg:
        """Publish a message, and return the answer to it.

        Raises `NoRight`, `nats.errors.NoRespondersError`, `nats.errors.TimeoutError` and `AnswerLost`.
        """
        if not self._inbox:
            self._inbox = self._client.new_inbox()
            # Nothing can be published in between: nats-py writes the subscription before it waits for anything.
            await self._client.subscribe(f"{self._inbox}.*", cb=self._receive)
        self._number += 1
        inbox = f"{self._inbox}.{self._number}"
        waiting = self._waiting[inbox] = _Waiting(subject, asyncio.get_running_loop().create_future())
        give_up = partial(waiting.fail, NatsTimeoutError)
        self._deadlines.set(give_up, self._timeout_s)
        try:
            await self._client.publish(subject, payload, reply=inbox, headers=dict(headers) if headers else None)
            return await waiting.answer
        finally:
            self._deadlines.clear(give_up)
            del self._waiting[inbox]
            if self._refused:
                self._end_refused(subject.lower())

    def interrupt(self) -> None:
        """End all waits, because the connection was lost and nobody answers on it."""
        for waiting in self._waiting.values():
            waiting.fail(AnswerLost)

    def note_refusal(self, error: Exception) -> None:
        """End the waits of messages that the server has refused, if `error` says so.

        It names the subject and not the message. So a message that was sent before its user lost the right is left to
        its answer: the waits of a subject end once as many are refused as wait.
        """
        if (found := _REFUSAL.search(str(error))) is None:
            return
        self._refused[found[1]] += 1
        self._end_refused(found[1])

    def _end_refused(self, subject: str) -> None:
        if subject not in self._refused:
            return
        waiting = [one for one in self._waiting.values() if one.subject.lower() == subject and not one.answer.done()]
        if self._refused[subject] >= len(waiting):
            del self._refused[subject]
            for one in waiting:
                one.fail(NoRight)

    async def _receive(self, msg: Msg) -> None:
        waiting = self._waiting.get(msg.subject)
        if waiting is None or waiting.answer.done():
            return
        if received_headers(msg).status == NO_RESPONDERS:
            waiting.fail(NoRespondersError)
            return
        self.answered_at = time.monotonic()
        waiting.answer.set_result(msg)
