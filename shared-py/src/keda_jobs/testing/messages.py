"""One delivery of a message to the handler of an event job, or of a long one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keda_jobs.domain.dead_letter import DeadLetter, dead_letter, parse_dead_letter
from keda_jobs.domain.emitted import Later
from keda_jobs.domain.event import Event
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Ack, Dead, Decision, RetryPolicy
from keda_jobs.event.handler import Handler, event_type
from keda_jobs.event.runner import Runner
from keda_jobs.long import LongContext
from keda_jobs.runtime.job import job_name
from keda_jobs.settings import JobSettings, StoreSettings
from keda_jobs.testing.broker import MAX_PAYLOAD
from keda_jobs.testing.bucket import InMemoryBucket
from keda_jobs.testing.defaults import default_settings, in_thread


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one delivery."""

    decision: Decision
    store: InMemoryBucket
    dead_letter: DeadLetter | None = None

    @property
    def events(self) -> tuple[Event | Later[Event], ...]:
        """Events that are published, as the handler returned them."""
        return tuple(encoded.returned for encoded in self.decision.events) if isinstance(self.decision, Ack) else ()


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
    """Deliver `payload` to `handler` once and decide, as the loop would. Nobody sees what a long one says meanwhile."""
    settings = settings or default_settings(handler, JobSettings)
    has_store = store is not None or isinstance(settings, StoreSettings)
    store = store or InMemoryBucket()
    event, job = event_type(handler), job_name(handler)
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    message = Message(
        event.subject, data, headers or {}, Identity(job, 1, time.time_ns()), attempt, 1, datetime.now(UTC)
    )
    context = LongContext(settings, message, in_thread, resources, store if has_store else None)
    runner = Runner(event, handler, lambda _message: context, settings.handler_timeout_s)
    policy = RetryPolicy(settings.retry_max_deliveries, settings.retry_step_s)
    decision = policy.decide(await runner.handle(message, MAX_PAYLOAD // 2), attempt)
    if not isinstance(decision, Dead):
        return Result(decision, store)
    outgoing = dead_letter(message, job, decision, MAX_PAYLOAD, datetime.now(UTC))
    return Result(decision, store, parse_dead_letter(2, datetime.now(UTC), outgoing.data, outgoing.headers))
