"""Snapshots that one scrape takes of the streams and of the claim queues."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.status.dead_letters import DeadLetterCounts
from keda_jobs.status.queues import BatchTotals, CurrentHold, LastCheck, RangeTotals
from keda_jobs.status.stream import ConsumerState, StreamState, WaitingRetries


@dataclass(frozen=True, slots=True)
class Storage:
    """JetStream's storage in bytes: its use and its limit."""

    used: int
    limit: int


@dataclass(frozen=True, slots=True)
class ConsumerSnapshot:
    """Consumer, with the time at which its oldest unacked message was stored."""

    state: ConsumerState
    oldest_stored_at: datetime | None


@dataclass(frozen=True, slots=True)
class StreamSnapshot:
    """Streams at the NATS server's time `now`."""

    now: datetime
    streams: tuple[StreamState, ...]
    storage: Storage | None
    consumers: tuple[ConsumerSnapshot, ...]
    retries: tuple[WaitingRetries, ...]
    dead_letters: DeadLetterCounts


@dataclass(frozen=True, slots=True)
class QueueSnapshot:
    """Claim queue at the database's time `now`."""

    now: datetime
    job: str
    claimable: int
    batches: BatchTotals
    failed_permanently: int
    ranges: RangeTotals
    last_check: LastCheck | None
    hold: CurrentHold | None
