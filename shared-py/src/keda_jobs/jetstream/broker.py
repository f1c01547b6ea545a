"""The broker in production: NATS JetStream through nats-py."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from keda_jobs.domain.broker import Outgoing, TooLarge
from keda_jobs.domain.message import Received
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.acks import AckConfirmer
from keda_jobs.jetstream.connection import CONFIRM_S, error_text, until_connected
from keda_jobs.jetstream.pull import Pull, PullRefused

# Short, because a pull that is outstanding across a server's restart is never answered, and because
# SIGTERM has to let the pull end: a cancelled one strands the next message until its ack_wait is over.
FETCH_S = 2.0
_MESSAGE_TOO_LARGE = 10054

log = logging.getLogger(__name__)


class JetStreamDelivery:
    """A delivery by a JetStream pull consumer."""

    __slots__ = ("_client", "_confirmer", "_msg", "received")

    def __init__(self, client: Client, confirmer: AckConfirmer, msg: Msg) -> None:
        metadata = msg.metadata
        self._client = client
        self._confirmer = confirmer
        self._msg = msg
        self.received = Received(
            subject=msg.subject,
            data=msg.data,
            headers=msg.headers or {},
            num_delivered=metadata.num_delivered,
            sequence=metadata.sequence.stream,
            published_at=metadata.timestamp,
        )

    async def ack(self) -> None:
        """Acknowledge and wait for the server's word. Raises `BrokerUnavailable`, `BrokerClosed`."""
        await until_connected(self._client)
        try:
            await self._confirmer.ack(self._msg.reply)
        except NatsError as error:
            raise BrokerUnavailable(f"the ack was not confirmed: {error_text(error)}") from error

    async def nak(self) -> None:
        """Give back for immediate redelivery. Raises `BrokerUnavailable`."""
        try:
            await self._msg.nak()
        except NatsError as error:
            raise BrokerUnavailable(f"the nak was not sent: {error_text(error)}") from error

    async def in_progress(self) -> None:
        """Restart the server's `ack_wait` timer. Raises `BrokerUnavailable`."""
        try:
            await self._msg.in_progress()
        except NatsError as error:
            raise BrokerUnavailable(f"the in-progress signal was not sent: {error_text(error)}") from error


class JetStreamBroker:
    """One connection, one stream, one durable pull consumer that exists already.

    It asks for the rights to publish, to pull and to ack, and for no other: it neither creates nor inspects
    a consumer.
    """

    def __init__(self, client: Client, pull: Pull, confirmer: AckConfirmer, fetch_s: float) -> None:
        self._client = client
        self._confirmer = confirmer
        self._fetch_s = fetch_s
        self._jetstream = client.jetstream(timeout=CONFIRM_S)
        self._pull = pull

    @classmethod
    async def bind(cls, client: Client, consumer: str, fetch_s: float = FETCH_S) -> JetStreamBroker:
        """A broker that pulls from `consumer` of the stream and waits up to `fetch_s` for a message."""
        pull = await Pull.open(client, STREAM, consumer)
        return cls(client, pull, await AckConfirmer.open(client, CONFIRM_S), fetch_s)

    @property
    def max_payload(self) -> int:
        """The server's limit for headers and body of one message, in bytes."""
        return self._client.max_payload

    async def fetch(self, most: int) -> Sequence[JetStreamDelivery]:
        """Up to `most` deliveries, none after `fetch_s` seconds. Raises `BrokerUnavailable`, `BrokerClosed`."""
        try:
            async with asyncio.timeout(self._fetch_s):
                await until_connected(self._client)
        except TimeoutError:
            return []
        try:
            messages = await self._pull.fetch(most, self._fetch_s)
        except (PullRefused, NatsError) as error:
            raise BrokerUnavailable(
                f"pulling failed: {error_text(error)}; if this goes on, apply the streams (keda-jobs streams apply)"
            ) from error
        return [JetStreamDelivery(self._client, self._confirmer, message) for message in messages]

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message and wait for the acknowledgement; False when it was stored before (same `msg_id`).

        Raises `BrokerUnavailable`, `BrokerClosed`, and `TooLarge` before anything is sent.
        """
        headers = outgoing.wire_headers(self.max_payload)
        await until_connected(self._client)
        try:
            ack = await self._jetstream.publish(outgoing.subject, outgoing.data, headers=headers)
        except APIError as error:
            if error.err_code == _MESSAGE_TOO_LARGE:
                raise TooLarge(f"{len(outgoing.data)} bytes for {outgoing.subject}; the stream takes less") from error
            raise BrokerUnavailable(f"NATS refused {outgoing.subject}: {error.description}") from error
        except NatsError as error:
            raise BrokerUnavailable(f"no acknowledgement for {outgoing.subject}: {error_text(error)}") from error
        return not ack.duplicate
