"""Snapshots that one scrape takes of the streams and of the claim queues."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.status.dead_letters import DeadLetterCounts
from keda_jobs.status.delayed_events import DelayedEvents
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
    """Streams at the NATS server's time `now`. `storage` is the events stream's, None where it has no limit.

    `last_backup` is when the last complete backup began, None where nobody takes backups.
    """

    now: datetime
    streams: tuple[StreamState, ...]
    storage: Storage | None
    consumers: tuple[ConsumerSnapshot, ...]
    retries: tuple[WaitingRetries, ...]
    delayed_events: DelayedEvents
    dead_letters: DeadLetterCounts
    last_backup: datetime | None


@dataclass(frozen=True, slots=True)
class ServerSnapshot:
    """View of one NATS server, which it has even where a stream has no leader and answers nothing.

    `storage` is the server's, None where the events stream has a limit of its own. `certificate_expires_at` is None
    without TLS.
    """

    has_leader: Mapping[str, bool]
    write_failed: Mapping[str, bool]
    storage: Storage | None
    certificate_expires_at: datetime | None


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
