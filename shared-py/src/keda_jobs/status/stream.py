"""Sizes of streams, state of the consumers, and the retries that wait as scheduled messages."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import RETRY_STREAM, due_subject, fire_subject, waiting_subject
from keda_jobs.jetstream.api import Info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import Page, read_last, read_page
from keda_jobs.jetstream.stream_diff import normalize

# Reading this many takes about 50 ms. The stream keeps retries in the order in which they were scheduled, and the
# server has no other order.
MAX_SCHEDULES = 1000


@dataclass(frozen=True, slots=True)
class StreamState:
    """Size of a stream. The times are empty where it holds no message.

    `replicas_behind` counts replicas that are offline, or do not have all of the leader's messages yet. `max_age_s` and
    `max_bytes` are None where the stream has no such limit.
    """

    name: str
    messages: int
    bytes: int
    first_time: datetime | None
    last_time: datetime | None
    replicas_behind: int
    max_age_s: float | None
    max_bytes: int | None

    @classmethod
    def from_info(cls, info: Info) -> Self:
        """Read the size from the stream's info."""
        state = info["state"]
        has_messages = state["messages"] > 0
        first, last = (datetime.fromisoformat(state[key]) if has_messages else None for key in ("first_ts", "last_ts"))
        replicas = (info.get("cluster") or {}).get("replicas") or []
        behind = sum(replica.get("offline", False) or not replica["current"] for replica in replicas)
        config = info["config"]
        max_bytes = config["max_bytes"]
        return cls(
            name=config["name"],
            messages=state["messages"],
            bytes=state["bytes"],
            first_time=first,
            last_time=last,
            replicas_behind=behind,
            max_age_s=config["max_age"] / 1e9 or None,
            max_bytes=max_bytes if max_bytes > 0 else None,
        )


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """State of a durable consumer. KEDA scales on its `lag`. `delivered` counts every delivery since it was made.

    NATS keeps the time of the last ack in memory, so it has none after a restart.
    """

    name: str
    num_pending: int
    num_ack_pending: int
    num_waiting: int
    num_redelivered: int
    delivered: int
    last_ack: datetime | None

    @property
    def lag(self) -> int:
        """Number of messages not yet acked."""
        return self.num_pending + self.num_ack_pending

    @property
    def job(self) -> str:
        """Name of the consumer's job."""
        return self.name.removesuffix("-consumer")

    @classmethod
    def from_info(cls, info: Info) -> Self:
        """Read the state from the consumer's info."""
        acked = info["ack_floor"].get("last_active")
        return cls(
            name=info["name"],
            num_pending=info["num_pending"],
            num_ack_pending=info["num_ack_pending"],
            num_waiting=info["num_waiting"],
            num_redelivered=info["num_redelivered"],
            delivered=info["delivered"]["consumer_seq"],
            last_ack=datetime.fromisoformat(acked) if acked else None,
        )


@dataclass(frozen=True, slots=True)
class WaitingRetries:
    """A job's retries that its consumer cannot read yet.

    One whose schedule has fired waits until the events stream has taken it. Where `is_exact` is false, a retry may be
    due before `next_due`.
    """

    job: str
    count: int
    next_due: datetime | None
    is_exact: bool


@dataclass(frozen=True, slots=True)
class DueTimes:
    """Times at which a job's waiting retries are due, and the number of all.

    Where `is_exact` is false, `times` has only those that were scheduled first.
    """

    count: int
    times: tuple[datetime, ...]
    is_exact: bool


async def oldest_unacked(connection: NatsConnection, info: Info) -> datetime | None:
    """Return when the oldest message was stored that this consumer has not acked, None without any.

    Raises `BrokerUnavailable`.
    """
    if not ConsumerState.from_info(info).lag:
        return None
    first = int(info["ack_floor"]["stream_seq"]) + 1
    subjects = normalize(info["config"]).get("filter_subjects") or [">"]
    pages = [await read_page(connection, subject, first, 1) for subject in subjects]
    return min((message.stored_at for page in pages for message in page.messages), default=None)


async def read_waiting_retries(connection: NatsConnection, job: str) -> WaitingRetries:
    """Read the waiting retries of `job`. Raises `BrokerUnavailable`."""
    due = await read_due_times(connection, job)
    return WaitingRetries(job, due.count, min(due.times, default=None), due.is_exact)


async def read_due_times(connection: NatsConnection, job: str) -> DueTimes:
    """Read when the waiting retries of `job` are due. Raises `BrokerUnavailable`."""
    waiting = await read_page(connection, waiting_subject(job, ">"), 1, MAX_SCHEDULES, RETRY_STREAM)
    fired = await _read_fired(connection, job)
    times = [message.stored_at for message in fired.messages]
    for schedule in waiting.messages:
        with suppress(ValueError):
            times.append(datetime.fromisoformat(schedule.headers.get(Header.SCHEDULE, "").removeprefix("@at ")))
    return DueTimes(waiting.count + fired.count, tuple(times), is_exact=not waiting.left)


async def _read_fired(connection: NatsConnection, job: str) -> Page:
    """Read the first fired retry of `job` that the events stream has not taken, and the number of all.

    After a crash nats-server 2.15.1 may leave taken ones in the retries stream. It takes them in their order.
    """
    fired = await read_page(connection, fire_subject(job), 1, 1, RETRY_STREAM)
    last = await read_last(connection, due_subject(job)) if fired.messages else None
    # One that is newer than the last taken may be of a retries stream that was made again, with numbers from 1.
    if last is None or last.stored_at < fired.messages[0].stored_at:
        return fired
    taken = re.match(rf"{RETRY_STREAM} ([0-9]+) ", last.headers.get("Nats-Stream-Source", ""))
    return await read_page(connection, fire_subject(job), int(taken[1]) + 1, 1, RETRY_STREAM) if taken else fired
