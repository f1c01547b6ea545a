"""Broker as the loop sees it. `keda_jobs.jetstream.broker` is the real one, `keda_jobs.testing` has a fake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from keda_jobs.domain.headers import header_bytes
from keda_jobs.domain.message import Received
from keda_jobs.errors import BrokerUnavailable, Permanent

_MAX_HEADER_BYTES = 48 * 1024
"""JetStream takes 64 KiB. The rest is room for what the server adds when a retry is due.

Above its limit the events stream could not take the retry, and every retry behind it would wait forever.
"""


class MessageTooLarge(Permanent):
    """The message is larger than the server's max_payload, or its headers than 48 KiB."""


class NotConfirmed(BrokerUnavailable):
    """The server did not confirm in time: the message may be stored or not."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Message to publish. `msg_id` makes the publish safe to repeat within the stream's duplicate window."""

    subject: str
    data: bytes
    msg_id: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire_headers(self, max_payload: int) -> dict[str, str]:
        """Return all headers to send. Raises `MessageTooLarge` above `max_payload` bytes, or 48 KiB of headers."""
        headers = {"Nats-Msg-Id": self.msg_id, **self.headers}
        in_headers = header_bytes(headers)
        if in_headers > _MAX_HEADER_BYTES:
            raise MessageTooLarge(
                f"{in_headers} bytes of headers for {self.subject}; at most {_MAX_HEADER_BYTES} can be stored"
            )
        size = len(self.data) + in_headers
        if size > max_payload:
            raise MessageTooLarge(f"{size} bytes for {self.subject}; the server takes {max_payload}")
        return headers


class Delivery(Protocol):
    """One delivery of a message. It ends with `ack` or `nak`."""

    @property
    def received(self) -> Received:
        """Message as the broker delivers it."""

    async def ack(self) -> None:
        """Acknowledge and wait for the server's confirmation. Raises `BrokerUnavailable`."""

    async def nak(self) -> None:
        """Give back for immediate redelivery. Raises `BrokerUnavailable`."""

    async def in_progress(self) -> None:
        """Restart the server's `ack_wait` timer. Raises `BrokerUnavailable`."""


class Broker(Protocol):
    """Stream with the job's durable consumer."""

    @property
    def max_payload(self) -> int:
        """Largest size of a message, headers and body, in bytes."""

    async def fetch(self, most: int) -> Sequence[Delivery]:
        """Fetch up to `most` deliveries, or none after a while without any. Raises `BrokerUnavailable`.

        More come when the server answers an earlier fetch late.
        """

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message, wait for the confirmation, and return whether its `msg_id` is new.

        Raises `NotConfirmed` when it may be stored or not, `BrokerUnavailable` when it is not, or `MessageTooLarge`
        before anything is sent.
        """
