"""What one scrape finds out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.status.dead_letters import DeadLetters
from keda_jobs.status.queues import Batches, Ranges
from keda_jobs.status.retries import WaitingRetries
from keda_jobs.status.stream import ConsumerState, StreamState


@dataclass(frozen=True, slots=True)
class Storage:
    """JetStream's storage in bytes: what is used, and what may be."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A consumer, and when the oldest message was stored that it has not acked."""

    state: ConsumerState
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class StreamReading:
    """The stream at the NATS server's time `now`."""

    now: datetime
    stream: StreamState
    storage: Storage | None
    consumers: tuple[Consumer, ...]
    retries: tuple[WaitingRetries, ...]
    letters: DeadLetters


@dataclass(frozen=True, slots=True)
class QueueReading:
    """A claim queue at the database's time `now`."""

    now: datetime
    job: str
    claimable: int
    batches: Batches
    ranges: Ranges
