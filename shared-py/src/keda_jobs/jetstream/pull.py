"""Pull requests to a durable consumer, one at a time, on the subjects that JetStream documents for clients.

nats-py's `fetch` starts a task for each message, and mistakes an event with a header `Status` for a status message.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-13.md
"""

from __future__ import annotations

import asyncio
import json

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from keda_jobs.jetstream.client import received_headers, status_text

# The server ends each request by itself, with a status at the latest. No answer for this long means trouble.
_ANSWER_S = 2.0
_PING_S = 2

_NOTHING_MORE = ("404", "408")


class PullRefused(Exception):
    """The server refuses to deliver messages. The text is its reason."""


class Pull:
    """Subscription on one inbox, to which the server sends the answers to each request."""

    def __init__(self, client: Client, stream: str, consumer: str, inbox: str) -> None:
        self._client = client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = inbox
        self._number = 0
        self._wanted = 0
        self._arrived: list[Msg] = []
        self._ended: asyncio.Future[None] | None = None

    @classmethod
    async def open(cls, client: Client, stream: str, consumer: str) -> Pull:
        """Subscribe to pull from an existing `consumer`. Needs only the rights to its MSG.NEXT and to the inbox."""
        pull = cls(client, stream, consumer, client.new_inbox())
        await client.subscribe(f"{pull._inbox}.*", cb=pull._receive)
        return pull

    async def fetch(self, most: int, expires_s: float) -> list[Msg]:
        """Return up to `most` messages: those waiting, else the first that arrives, else none after `expires_s`.

        More come when an earlier request is answered late, such as after a reconnect. Raises `PullRefused`, and
        `nats.errors.Error` when the request cannot be sent or the server does not answer it.
        """
        if not self._arrived:
            await self._request(most, expires_s)
        arrived, self._arrived = self._arrived, []
        return arrived

    def interrupt(self) -> None:
        """End the open request, because the connection was lost and nobody answers it."""
        self._end()

    async def _request(self, most: int, expires_s: float) -> None:
        self._number += 1
        self._wanted = most
        self._ended = ended = asyncio.get_running_loop().create_future()
        request = {"batch": most, "expires": int(expires_s * 1e9), "no_wait": True}
        await self._client.publish(self._subject, json.dumps(request).encode(), reply=f"{self._inbox}.{self._number}")
        await asyncio.wait((ended,), timeout=expires_s + _ANSWER_S)
        if not ended.done():
            # This process may have been too busy to read the answer, which is ahead of the one to a ping.
            await self._client.flush(timeout=_PING_S)
        if ended.done():
            ended.result()
        elif not self._arrived:
            raise NatsTimeoutError

    async def _receive(self, msg: Msg) -> None:
        # A message keeps the subject it was published on. A message on the inbox's own subject is a status.
        if not msg.subject.startswith(self._inbox):
            self._arrived.append(msg)
            if len(self._arrived) >= self._wanted:
                self._end()
        elif msg.subject == f"{self._inbox}.{self._number}":
            headers = received_headers(msg)
            self._end(None if headers.status in _NOTHING_MORE else PullRefused(status_text(headers)))

    def _end(self, error: PullRefused | None = None) -> None:
        if self._ended is None or self._ended.done():
            return
        if error is None or self._arrived:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)
