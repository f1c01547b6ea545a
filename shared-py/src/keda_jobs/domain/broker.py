"""What the loop needs of a broker: JetStream is one (`keda_jobs.jetstream.broker`), `keda_jobs.testing` has another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from keda_jobs.domain.headers import header_bytes
from keda_jobs.domain.message import Received
from keda_jobs.errors import Permanent

_MOST_HEADER_BYTES = 65_535
"""What JetStream stores; it refuses more whatever max_payload is."""


class TooLarge(Permanent):
    """The message is larger than the server's max_payload, or its headers than 64 KiB."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to publish. `msg_id` makes the publish safe to repeat within the stream's duplicate window."""

    subject: str
    data: bytes
    msg_id: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire_headers(self, max_payload: int) -> dict[str, str]:
        """All headers to send. Raises `TooLarge` when it exceeds `max_payload` bytes, or its headers 64 KiB."""
        headers = {"Nats-Msg-Id": self.msg_id, **self.headers}
        in_headers = header_bytes(headers)
        if in_headers > _MOST_HEADER_BYTES:
            raise TooLarge(f"{in_headers} bytes of headers for {self.subject}; JetStream takes {_MOST_HEADER_BYTES}")
        size = len(self.data) + in_headers
        if size > max_payload:
            raise TooLarge(f"{size} bytes for {self.subject}; the server takes {max_payload}")
        return headers


class Delivery(Protocol):
    """One delivery of a message; it ends with `ack` or `nak`."""

    @property
    def received(self) -> Received: ...

    async def ack(self) -> None:
        """Acknowledge and wait for the server's word. Raises `BrokerUnavailable`."""

    async def nak(self) -> None:
        """Give back for immediate redelivery. Raises `BrokerUnavailable`."""

    async def in_progress(self) -> None:
        """Restart the server's `ack_wait` timer. Raises `BrokerUnavailable`."""


class Broker(Protocol):
    """A stream with one durable consumer of ours."""

    @property
    def max_payload(self) -> int:
        """The most bytes, headers and body, that one message may have."""

    async def fetch(self, most: int) -> Sequence[Delivery]:
        """Up to `most` deliveries; empty when none came for a while. Raises `BrokerUnavailable`."""

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message and wait for the acknowledgement; False when it was stored before (same `msg_id`).

        Raises `BrokerUnavailable`, or `TooLarge` before anything is sent.
        """
