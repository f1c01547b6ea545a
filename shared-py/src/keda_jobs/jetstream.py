"""The broker in production: NATS JetStream through nats-py."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import APIError

from keda_jobs.broker import Outgoing, TooLarge
from keda_jobs.confirm import Confirmations
from keda_jobs.errors import BrokerClosed, BrokerUnavailable, Misconfigured
from keda_jobs.message import Received
from keda_jobs.pull import Pull, PullRefused
from keda_jobs.settings import NatsSettings

STREAM = "keda-jobs-events"
MINIMUM_SERVER = (2, 14, 3)

# Short, because a pull that is outstanding across a server's restart is never answered, and because
# SIGTERM has to let the pull end: a cancelled one strands the next message until its ack_wait is over.
FETCH_S = 2.0
CONFIRM_S = 5.0

_RECONNECTED_S = 0.25
_MESSAGE_TOO_LARGE = 10054

log = logging.getLogger(__name__)


class JetStreamDelivery:
    """A delivery by a JetStream pull consumer."""

    __slots__ = ("_client", "_confirmations", "_msg", "received")

    def __init__(self, client: Client, confirmations: Confirmations, msg: Msg) -> None:
        metadata = msg.metadata
        self._client = client
        self._confirmations = confirmations
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
        await _connected(self._client)
        try:
            await self._confirmations.ack(self._msg.reply)
        except NatsError as error:
            raise BrokerUnavailable(f"the ack was not confirmed: {_text(error)}") from error

    async def nak(self) -> None:
        """Give back for immediate redelivery. Raises `BrokerUnavailable`."""
        try:
            await self._msg.nak()
        except NatsError as error:
            raise BrokerUnavailable(f"the nak was not sent: {_text(error)}") from error

    async def in_progress(self) -> None:
        """Restart the server's `ack_wait` timer. Raises `BrokerUnavailable`."""
        try:
            await self._msg.in_progress()
        except NatsError as error:
            raise BrokerUnavailable(f"the in-progress signal was not sent: {_text(error)}") from error


class JetStreamBroker:
    """One connection, one stream, one durable pull consumer that exists already.

    It asks for the rights to publish, to pull and to ack, and for no other: it neither creates nor inspects
    a consumer.
    """

    def __init__(self, client: Client, pull: Pull, confirmations: Confirmations, fetch_s: float) -> None:
        self._client = client
        self._confirmations = confirmations
        self._fetch_s = fetch_s
        self._jetstream = client.jetstream(timeout=CONFIRM_S)
        self._pull = pull

    @classmethod
    async def bind(cls, client: Client, consumer: str, fetch_s: float = FETCH_S) -> JetStreamBroker:
        """A broker that pulls from `consumer` of the stream and waits up to `fetch_s` for a message."""
        pull = await Pull.open(client, STREAM, consumer)
        return cls(client, pull, await Confirmations.open(client, CONFIRM_S), fetch_s)

    @property
    def max_payload(self) -> int:
        """The server's limit for headers and body of one message, in bytes."""
        return self._client.max_payload

    async def fetch(self, most: int) -> Sequence[JetStreamDelivery]:
        """Up to `most` deliveries, none after `fetch_s` seconds. Raises `BrokerUnavailable`, `BrokerClosed`."""
        try:
            async with asyncio.timeout(self._fetch_s):
                await _connected(self._client)
        except TimeoutError:
            return []
        try:
            messages = await self._pull.fetch(most, self._fetch_s)
        except (PullRefused, NatsError) as error:
            raise BrokerUnavailable(
                f"pulling failed: {_text(error)}; if this goes on, apply the streams (keda-jobs streams apply)"
            ) from error
        return [JetStreamDelivery(self._client, self._confirmations, message) for message in messages]

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message and wait for the acknowledgement; False when it was stored before (same `msg_id`).

        Raises `BrokerUnavailable`, `BrokerClosed`, and `TooLarge` before anything is sent.
        """
        headers = outgoing.wire_headers(self.max_payload)
        await _connected(self._client)
        try:
            ack = await self._jetstream.publish(outgoing.subject, outgoing.data, headers=headers)
        except APIError as error:
            if error.err_code == _MESSAGE_TOO_LARGE:
                raise TooLarge(f"{len(outgoing.data)} bytes for {outgoing.subject}; the stream takes less") from error
            raise BrokerUnavailable(f"NATS refused {outgoing.subject}: {error.description}") from error
        except NatsError as error:
            raise BrokerUnavailable(f"no acknowledgement for {outgoing.subject}: {_text(error)}") from error
        return not ack.duplicate


class _Reports:
    """What the client says about its connection, each thing once until it is connected again."""

    def __init__(self, client: Client, address: str, on_reconnect: Callable[[], None] | None) -> None:
        self._client = client
        self._address = address
        self._on_reconnect = on_reconnect
        self._said: set[str] = set()
        self.last: Exception | None = None

    async def keep(self, error: Exception) -> None:
        """Without waiting, the caller is told by one exception, which says more than "no servers available"."""
        # A server that refuses us closes the connection too, and which of the two is heard last is chance.
        if not isinstance(self.last, NatsError) or isinstance(error, NatsError):
            self.last = error

    async def error(self, error: Exception) -> None:
        line = _text(error)
        if line not in self._said:
            self._said.add(line)
            log.warning("NATS at %s: %s", self._address, line)

    async def disconnected(self) -> None:
        if not self._client.is_closed:
            log.warning("disconnected from NATS at %s, reconnecting", self._address)

    async def reconnected(self) -> None:
        self._said.clear()
        log.info("reconnected to NATS at %s", self._address)
        if self._on_reconnect is not None:
            self._on_reconnect()


@asynccontextmanager
async def connect(
    settings: NatsSettings, *, name: str, wait: bool, on_reconnect: Callable[[], None] | None = None
) -> AsyncIterator[Client]:
    """A connection to NATS, closed at the end.

    With `wait` it is waited for, and it reconnects for ever, with a call of `on_reconnect` each time; without,
    `BrokerUnavailable` says what is wrong within seconds. Raises `Misconfigured` when the server is too old.
    """
    address = re.sub(r"//[^/@]*@", "//", settings.nats_url)
    client = Client()
    reports = _Reports(client, address, on_reconnect)
    try:
        await client.connect(
            servers=settings.nats_url.split(","),
            name=name,
            # A user may hear no inbox but its own, else it would hear what the server answers to others.
            inbox_prefix=f"_INBOX_{settings.nats_user or name}",
            allow_reconnect=wait,
            # nats-py tries a server that refuses once more than this, and for ever where it is -1 or 0.
            max_reconnect_attempts=-1 if wait else 1,
            reconnect_time_wait=1 if wait else 0,
            connect_timeout=2 if wait else 5,
            # A half-open link is noticed after two of these.
            ping_interval=10,
            error_cb=reports.error if wait else reports.keep,
            disconnected_cb=reports.disconnected if wait else None,
            reconnected_cb=reports.reconnected,
            **_credentials(settings),
        )
    except (NatsError, OSError, TimeoutError) as error:
        await client.close()
        raise BrokerUnavailable(f"NATS at {address} cannot be reached: {_text(reports.last or error)}") from error
    except asyncio.CancelledError:
        await client.close()
        raise
    try:
        _refuse_cancelled()
        _refuse_old(client, address)
        yield client
    finally:
        with contextlib.suppress(NatsError):
            await client.flush(timeout=int(CONFIRM_S))
        # A server that is away: nats-py writes what is pending to the connection that is lost.
        with contextlib.suppress(OSError):
            await client.close()


def _refuse_cancelled() -> None:
    """Raise the cancellation that came while nats-py connected, so that SIGTERM is not lost.

    Its `asyncio.wait_for` forgets one that comes together with the answer, on Python 3.11:
    https://github.com/python/cpython/issues/86296
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _credentials(settings: NatsSettings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if settings.nats_user is not None:
        options["user"] = settings.nats_user
    if settings.nats_password is not None:
        options["password"] = settings.nats_password.get_secret_value()
    if settings.nats_creds is not None:
        options["user_credentials"] = str(settings.nats_creds)
    if settings.nats_tls_ca is not None:
        options["tls"] = ssl.create_default_context(cafile=str(settings.nats_tls_ca))
    return options


def _refuse_old(client: Client, address: str) -> None:
    version = client.connected_server_version
    found = (version.major, version.minor, version.patch)
    if found < MINIMUM_SERVER:
        has, floor = ".".join(map(str, found)), ".".join(map(str, MINIMUM_SERVER))
        raise Misconfigured(
            f"the NATS server at {address} has version {has}; at least {floor} is needed, or retries are lost"
        )


async def _connected(client: Client) -> None:
    """Wait for the connection; what is written without one is sent later, when nobody waits for its answer."""
    while not client.is_connected:
        if client.is_closed:
            raise BrokerClosed(f"the connection to NATS is closed: {_text(client.last_error or 'no reason given')}")
        await asyncio.sleep(_RECONNECTED_S)


def _text(error: object) -> str:
    return str(error).removeprefix("nats: ") or type(error).__name__
