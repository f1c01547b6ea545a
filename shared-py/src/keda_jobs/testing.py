"""What an author needs to test a handler without servers, and an in-memory broker that behaves like JetStream.

    result = await run_one(resize, {"key": "images/….jpg"}, store=InMemoryBucket({"images/….jpg": picture}))
    assert result.decision == Ack()
    assert "images_resized/….jpg" in result.store.objects

The fakes pass the same behaviour suite as the real servers (tests/behaviour).
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple, get_args, get_type_hints

from keda_jobs.broker import Outgoing
from keda_jobs.context import Context
from keda_jobs.dead_letter import DeadLetter, dead_letter, read_letter
from keda_jobs.events import Event
from keda_jobs.job import Handler, event_type, job_name
from keda_jobs.message import Message, Received
from keda_jobs.policy import Ack, Dead, Decision, RetryPolicy
from keda_jobs.retry import SCHEDULE, TARGET
from keda_jobs.runner import Runner
from keda_jobs.settings import JobSettings, StoreSettings
from keda_jobs.storage import ObjectMissing, ObjectTooLarge

Args = TypeVarTuple("Args")
T = TypeVar("T")

_MAX_PAYLOAD = 1024 * 1024


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in an `InMemoryBucket`."""

    data: bytes
    content_type: str = "application/octet-stream"


class InMemoryBucket:
    """A bucket without a server; `objects` is open to look at and to fill."""

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self.objects = {key: StoredObject(data) for key, data in (objects or {}).items()}

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """The object's bytes. Raises `ObjectMissing`, `ObjectTooLarge`."""
        if key not in self.objects:
            raise ObjectMissing(key)
        data = self.objects[key].data
        if max_bytes is not None and len(data) > max_bytes:
            raise ObjectTooLarge(f"{key} has {len(data)} bytes; at most {max_bytes} are read")
        return data

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        """Store `data` under `key`."""
        self.objects[key] = StoredObject(bytes(data), content_type)


async def in_thread(function: Callable[[*Args], T], *args: *Args) -> T:
    """`Context.cpu` of tests: a thread instead of a process."""
    return await asyncio.to_thread(function, *args)


@dataclass(frozen=True, slots=True)
class Result:
    """What one delivery came to."""

    decision: Decision
    store: InMemoryBucket
    letter: DeadLetter | None = None

    @property
    def events(self) -> tuple[Event, ...]:
        """The events that are published."""
        return self.decision.events if isinstance(self.decision, Ack) else ()


async def run_one(
    handler: Handler,
    payload: Mapping[str, Any] | bytes,
    *,
    settings: JobSettings | None = None,
    store: InMemoryBucket | None = None,
    resources: Any = None,
    attempt: int = 1,
    headers: Mapping[str, str] | None = None,
) -> Result:
    """Deliver `payload` to `handler` once, as the loop would, and decide what becomes of it."""
    settings = settings or _default_settings(handler)
    has_store = store is not None or isinstance(settings, StoreSettings)
    store = store or InMemoryBucket()
    event, job = event_type(handler), job_name(handler)
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = Message(event.subject, data, headers or {}, f"{job}-1", attempt, 1, datetime.now(UTC))
    context = Context(settings, message, in_thread, resources, store if has_store else None)
    runner = Runner(event, handler, lambda _message: context, settings.handler_timeout_s)
    policy = RetryPolicy(settings.retry_max_deliveries, settings.retry_step_s)
    decision = policy.decide(await runner.outcome(message, _MAX_PAYLOAD // 2), attempt)
    if not isinstance(decision, Dead):
        return Result(decision, store)
    letter = dead_letter(message, job, decision, _MAX_PAYLOAD, datetime.now(UTC))
    return Result(decision, store, read_letter(2, datetime.now(UTC), letter.data, letter.headers))


def _default_settings(handler: Handler) -> JobSettings:
    """The defaults of the settings class in the handler's `Context[...]`; the environment plays no part."""
    hints = [hint for name, hint in get_type_hints(handler).items() if name != "return"]
    kinds = [
        kind for hint in hints for kind in get_args(hint) if isinstance(kind, type) and issubclass(kind, JobSettings)
    ]
    kind = kinds[0] if kinds else JobSettings
    values: dict[str, Any] = {"_env_prefix": "NOT_FROM_THE_ENVIRONMENT_"}
    if issubclass(kind, StoreSettings):
        values |= {
            "r2_endpoint_url": "http://localhost",
            "r2_access_key_id": "test",
            "r2_secret_access_key": "test",
            "r2_bucket": "test",
        }
    return kind(**values)


@dataclass(slots=True)
class _Stored:
    sequence: int
    subject: str
    data: bytes
    headers: dict[str, str]
    published_at: datetime
    num_delivered: int = 0


@dataclass(eq=False, slots=True)
class InMemoryDelivery:
    """A delivery by an `InMemoryBroker`."""

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
    """A stream with one pull consumer on `filter_subjects`: deduplication, redelivery, scheduled messages.

    The clock is the event loop's; schedules are due by the wall clock, as on the server.
    """

    filter_subjects: Sequence[str]
    ack_wait_s: float = 60.0
    fetch_s: float = 0.2
    max_payload: int = _MAX_PAYLOAD
    messages: dict[int, _Stored] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)
        self._msg_ids: set[str] = set()
        self._pending: list[int] = []
        self._unacked: dict[int, float] = {}

    @property
    def num_pending(self) -> int:
        """Messages not yet delivered."""
        self._advance()
        return len(self._pending)

    @property
    def num_ack_pending(self) -> int:
        """Messages delivered and not acked."""
        self._advance()
        return len(self._unacked)

    async def fetch(self, most: int) -> Sequence[InMemoryDelivery]:
        """Up to `most` deliveries; empty when none came within `fetch_s`."""
        deadline = asyncio.get_running_loop().time() + self.fetch_s
        while True:
            self._advance()
            taken, self._pending = self._pending[:most], self._pending[most:]
            if taken or asyncio.get_running_loop().time() >= deadline:
                return [self._deliver(sequence) for sequence in taken]
            await asyncio.sleep(0.005)

    async def publish(self, outgoing: Outgoing) -> bool:
        """Store a message; False when its `msg_id` was stored before. Raises `TooLarge`."""
        headers = outgoing.wire_headers(self.max_payload)
        if outgoing.msg_id in self._msg_ids:
            return False
        self._msg_ids.add(outgoing.msg_id)
        if SCHEDULE in headers:
            for stored in [stored for stored in self.messages.values() if stored.subject == outgoing.subject]:
                del self.messages[stored.sequence]
        self._store(outgoing.subject, outgoing.data, headers)
        return True

    def settle(self, sequence: int, num_delivered: int, *, again: bool) -> None:
        """End a delivery; an ack of an earlier delivery counts too, a nak of one does not."""
        if sequence not in self._unacked or (again and self.messages[sequence].num_delivered != num_delivered):
            return
        del self._unacked[sequence]
        if again:
            self._pending.insert(0, sequence)

    def touch(self, sequence: int) -> None:
        """Restart the timer of a delivery that is in work."""
        if sequence in self._unacked:
            self._unacked[sequence] = asyncio.get_running_loop().time() + self.ack_wait_s

    def _store(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        sequence = next(self._numbers)
        self.messages[sequence] = _Stored(sequence, subject, data, headers, datetime.now(UTC))
        if subject in self.filter_subjects:
            self._pending.append(sequence)

    def _deliver(self, sequence: int) -> InMemoryDelivery:
        stored = self.messages[sequence]
        stored.num_delivered += 1
        self._unacked[sequence] = asyncio.get_running_loop().time() + self.ack_wait_s
        received = Received(
            stored.subject, stored.data, dict(stored.headers), stored.num_delivered, sequence, stored.published_at
        )
        return InMemoryDelivery(received, self)

    def _advance(self) -> None:
        """Fire what is due, take back what was not acked in time."""
        now, loop_now = datetime.now(UTC), asyncio.get_running_loop().time()
        for stored in list(self.messages.values()):
            schedule = stored.headers.get(SCHEDULE, "")
            if schedule and datetime.fromisoformat(schedule.removeprefix("@at ")) <= now:
                del self.messages[stored.sequence]
                kept = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
                scheduler = {"Nats-Scheduler": stored.subject, "Nats-Schedule-Next": "purge"}
                self._store(stored.headers[TARGET], stored.data, kept | scheduler)
        for sequence, due in list(self._unacked.items()):
            if due <= loop_now:
                del self._unacked[sequence]
                self._pending.insert(0, sequence)
