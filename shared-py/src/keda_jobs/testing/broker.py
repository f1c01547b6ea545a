"""Broker in memory."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.message import Received
from keda_jobs.domain.subjects import delay_fire_subject, due_subject, fire_subject, stream_of

MAX_PAYLOAD = 1024 * 1024


@dataclass(eq=False, slots=True)
class InMemoryDelivery:
    """Delivery by an `InMemoryBroker`."""

    received: Received
    _broker: InMemoryBroker

    async def ack(self) -> None:
        """Acknowledge."""
        self._broker.settle(self.received.sequence, self.received.num_delivered, again=False)

    async def nak(self) -> None:
        """Give back for immediate redelivery."""
        self._broker.settle(self.received.sequence, self.received.num_delivered, again=True)

    async def in_progress(self) -> None:
        """Restart the `ack_wait` timer."""
        self._broker.touch(self.received.sequence)


@dataclass
class InMemoryBroker:
    """Streams with one pull consumer on `filter_subjects`: deduplication, redelivery, scheduled messages.

    A message on `retry.fire.<job>` arrives on `retry.due.<job>`, one on `delay.fire.<subject>` on `<subject>`. Timers
    use the event loop's clock. Schedules use the wall clock, as on the server.
    """

    filter_subjects: Sequence[str]
    ack_wait_s: float = 60.0
    fetch_s: float = 0.2
    max_payload: int = MAX_PAYLOAD
    messages: dict[int, Received] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._msg_ids: set[tuple[str, str]] = set()
        self._pending: list[int] = []
        self._unacked: dict[int, float] = {}

    @property
    def num_pending(self) -> int:
        """Number of messages not yet delivered."""
        self._advance()
        return len(self._pending)

    @property
    def num_ack_pending(self) -> int:
        """Number of messages delivered and not acked."""
        self._advance()
        return len(self._unacked)

    async def fetch(self, most: int) -> Sequence[InMemoryDelivery]:
        """Fetch up to `most` deliveries, or none when none came within `fetch_s`."""
        deadline = asyncio.get_running_loop().time() + self.fetch_s
        while True:
            self._advance()
            taken, self._pending = self._pending[:most], self._pending[most:]
            if taken or asyncio.get_running_loop().time() >= deadline:
                return [self._deliver(sequence) for sequence in taken]
            await asyncio.sleep(0.005)

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message and return whether its `msg_id` is new. Raises `MessageTooLarge`."""
        headers = outgoing.wire_headers(self.max_payload)
        msg_id = stream_of(outgoing.subject), outgoing.msg_id
        if msg_id in self._msg_ids:
            return False
        self._msg_ids.add(msg_id)
        if Header.SCHEDULE in headers:
            for stored in [stored for stored in self.messages.values() if stored.subject == outgoing.subject]:
                del self.messages[stored.sequence]
        self._store(outgoing.subject, outgoing.data, headers)
        return True

    def settle(self, sequence: int, num_delivered: int, *, again: bool) -> None:
        """End a delivery. An ack of an earlier delivery counts too, a nak of one does not."""
        if sequence not in self._unacked or (again and self.messages[sequence].num_delivered != num_delivered):
            return
        del self._unacked[sequence]
        if again:
            self._pending.insert(0, sequence)

    def touch(self, sequence: int) -> None:
        """Restart the timer of a delivery in flight."""
        if sequence in self._unacked:
            self._unacked[sequence] = asyncio.get_running_loop().time() + self.ack_wait_s

    def _store(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        job, event = subject.removeprefix(fire_subject("")), subject.removeprefix(delay_fire_subject(""))
        if job != subject or event != subject:
            headers = {**headers, "Nats-Stream-Source": f"{stream_of(subject)} 1 {subject}"}
            subject = due_subject(job) if job != subject else event
        sequence = next(self._numbers)
        self.messages[sequence] = Received(subject, data, headers, 0, sequence, time.time_ns())
        if subject in self.filter_subjects:
            self._pending.append(sequence)

    def _deliver(self, sequence: int) -> InMemoryDelivery:
        stored = self.messages[sequence]
        received = self.messages[sequence] = stored._replace(num_delivered=stored.num_delivered + 1)
        self._unacked[sequence] = asyncio.get_running_loop().time() + self.ack_wait_s
        return InMemoryDelivery(received, self)

    def _advance(self) -> None:
        """Fire due schedules, and requeue messages that were not acked in time."""
        now, loop_now = datetime.now(UTC), asyncio.get_running_loop().time()
        for stored in list(self.messages.values()):
            schedule = stored.headers.get(Header.SCHEDULE, "")
            if schedule and datetime.fromisoformat(schedule.removeprefix("@at ")) <= now:
                del self.messages[stored.sequence]
                kept = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
                scheduler = {"Nats-Scheduler": stored.subject, "Nats-Schedule-Next": "purge"}
                self._store(stored.headers[Header.SCHEDULE_TARGET], stored.data, kept | scheduler)
        for sequence, due in list(self._unacked.items()):
            if due <= loop_now:
                del self._unacked[sequence]
                self._pending.insert(0, sequence)
