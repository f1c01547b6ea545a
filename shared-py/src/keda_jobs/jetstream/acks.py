"""Acks that the server confirms, all on one inbox.

nats-py's `ack_sync` makes a random inbox name, two futures and a timer for each message. That is a fifth of the time
that a loop without any other work spends on a message.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from keda_jobs.jetstream.client import NO_RESPONDERS, received_headers
from keda_jobs.runtime.deadlines import Deadlines


class AckConfirmer:
    """Subscription on one inbox, to which the server confirms each ack."""

    def __init__(self, client: Client, inbox: str, timeout_s: float) -> None:
        self._client = client
        self._inbox = inbox
        self._timeout_s = timeout_s
        self._number = 0
        self.confirmed_at = 0.0
        """When the server last confirmed an ack, by `time.monotonic`."""
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._deadlines = Deadlines()

    @classmethod
    async def open(cls, client: Client, timeout_s: float) -> AckConfirmer:
        """Subscribe. Each confirmation is waited for up to `timeout_s`."""
        confirmer = cls(client, client.new_inbox(), timeout_s)
        await client.subscribe(f"{confirmer._inbox}.*", cb=confirmer._receive)
        return confirmer

    async def ack(self, subject: str) -> None:
        """Acknowledge the message with the reply subject `subject`. Raises `nats.errors.Error` when not confirmed."""
        self._number += 1
        inbox = f"{self._inbox}.{self._number}"
        confirmed = self._waiting[inbox] = asyncio.get_running_loop().create_future()
        give_up = partial(self._resolve, inbox, NatsTimeoutError)
        self._deadlines.set(give_up, self._timeout_s)
        try:
            await self._client.publish(subject, reply=inbox)
            await confirmed
        finally:
            self._deadlines.clear(give_up)
            del self._waiting[inbox]

    def interrupt(self) -> None:
        """End all waits, because the connection was lost and nobody confirms the acks."""
        for inbox in tuple(self._waiting):
            self._resolve(inbox, ConnectionClosedError)

    async def _receive(self, msg: Msg) -> None:
        refused = received_headers(msg).status == NO_RESPONDERS
        self._resolve(msg.subject, NoRespondersError if refused else None)

    def _resolve(self, inbox: str, error: type[Exception] | None) -> None:
        confirmed = self._waiting.get(inbox)
        if confirmed is None or confirmed.done():
            return
        if error is None:
            self.confirmed_at = time.monotonic()
            confirmed.set_result(None)
        else:
            confirmed.set_exception(error)
