"""Broker in production: NATS JetStream through nats-py."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.message import Received
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.client import received_headers
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.pull import Pull, PullRefused

# Short, because a pull that is open across a server's restart is never answered, and because SIGTERM lets the pull
# end: a cancelled one strands the next message until its ack_wait has expired.
FETCH_S = 2.0

_PARTS_WITHOUT_DOMAIN = 9


class JetStreamDelivery:
    """Delivery by a JetStream pull consumer."""

    __slots__ = ("_connection", "_msg", "received")

    def __init__(self, connection: NatsConnection, msg: Msg) -> None:
        headers = received_headers(msg)
        num_delivered, sequence, timestamp_ns = _position(msg.reply)
        self._connection = connection
        self._msg = msg
        self.received = Received(
            subject=msg.subject,
            data=msg.data,
            headers=headers,
            num_delivered=num_delivered,
            sequence=sequence,
            timestamp_ns=timestamp_ns,
            has_readable_headers=headers.readable,
        )

    async def ack(self) -> None:
        """Acknowledge, and wait for the server's confirmation. Raises `BrokerUnavailable`, `BrokerClosed`."""
        await self._connection.until_connected()
        began = time.monotonic()
        try:
            await self._connection.replies.request(self._msg.reply)
        except NatsError as error:
            # A server that crashed confirms no ack of a delivery that it has forgotten, but it answers others.
            if isinstance(error, TimeoutError) and self._connection.replies.answered_at < began:
                await self._connection.reconnect(since=began)
            raise BrokerUnavailable(f"the ack was not confirmed: {self._connection.reason(error)}") from error

    async def nak(self) -> None:
        """Give back for immediate redelivery. Raises `BrokerUnavailable`."""
        try:
            await self._msg.nak()
        except NatsError as error:
            raise BrokerUnavailable(f"the nak was not sent: {self._connection.reason(error)}") from error

    async def in_progress(self) -> None:
        """Restart the server's `ack_wait` timer. Raises `BrokerUnavailable`."""
        try:
            await self._msg.in_progress()
        except NatsError as error:
            reason = self._connection.reason(error)
            raise BrokerUnavailable(f"the in-progress signal was not sent: {reason}") from error


def _position(ack_subject: str) -> tuple[int, int, int]:
    """Return number of deliveries, sequence and time of a message. nats-py rounds the time to a float.

    `$JS.ACK.<stream>.<consumer>.…`, or with a domain and an account before the stream:
    https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-15.md
    """
    parts = ack_subject.split(".")
    delivered, sequence, _, timestamp = parts[4:8] if len(parts) == _PARTS_WITHOUT_DOMAIN else parts[6:10]
    return int(delivered), int(sequence), int(timestamp)


class JetStreamBroker:
    """One connection, one stream, and one durable pull consumer that already exists.

    It needs the rights to publish, to pull and to ack, and no other: it neither creates nor inspects a consumer.
    """

    def __init__(self, connection: NatsConnection, pull: Pull, fetch_s: float) -> None:
        self._connection = connection
        self._fetch_s = fetch_s
        self._pull = pull

    @classmethod
    async def bind(cls, connection: NatsConnection, consumer: str, fetch_s: float = FETCH_S) -> JetStreamBroker:
        """Bind to `consumer` of the stream. A fetch waits up to `fetch_s` for a message. Raises `BrokerUnavailable`."""
        try:
            pull = await Pull.open(connection.client, STREAM, consumer)
        except NatsError as error:
            raise BrokerUnavailable(f"{consumer} cannot be used: {connection.reason(error)}") from error
        connection.on_disconnect += (pull.interrupt,)
        return cls(connection, pull, fetch_s)

    @property
    def max_payload(self) -> int:
        """Server's limit for headers and body of one message, in bytes."""
        return self._connection.max_payload

    async def fetch(self, most: int) -> Sequence[JetStreamDelivery]:
        """Return deliveries as `Broker.fetch`, none after `fetch_s` seconds. Raises `BrokerClosed` too."""
        try:
            async with asyncio.timeout(self._fetch_s):
                await self._connection.until_connected()
        except TimeoutError:
            return []
        began = time.monotonic()
        try:
            messages = await self._pull.fetch(most, self._fetch_s)
        except TimeoutError as error:
            reason = self._connection.reason(error)
            await self._connection.reconnect(since=began)
            raise BrokerUnavailable(
                f"NATS does not answer a pull: {reason}; reconnecting. If this goes on, check the user's right to "
                f"subscribe to its inbox and look at the server's log"
            ) from error
        except (PullRefused, NatsError) as error:
            reason = self._connection.reason(error)
            raise BrokerUnavailable(
                f"pulling failed: {reason}; if this goes on, apply the streams (keda-jobs streams apply)"
            ) from error
        return [JetStreamDelivery(self._connection, message) for message in messages]

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message, as `publish.publish` does."""
        return (await publish(self._connection, outgoing)).is_new
