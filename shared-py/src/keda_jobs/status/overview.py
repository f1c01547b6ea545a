"""Overview of the streams for `keda-jobs status`, read within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from keda_jobs.domain.subjects import RETRY_STREAM, STREAMS
from keda_jobs.jetstream.api import durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import read_page
from keda_jobs.status.dead_letters import DeadLetterCounter, DeadLetterCounts
from keda_jobs.status.delayed_events import DelayedEvents, read_delayed_events
from keda_jobs.status.long_work import LongWork, read_long_work
from keda_jobs.status.stream import (
    MAX_SCHEDULES,
    ConsumerState,
    StreamState,
    WaitingRetries,
    oldest_unacked,
    read_waiting_retries,
)


@dataclass(frozen=True, slots=True)
class Overview:
    """Streams, consumers, long work, waiting retries, events for later and dead letters at the server's time `now`."""

    now: datetime
    server_version: str
    streams: tuple[StreamState, ...]
    consumers: tuple[ConsumerState, ...]
    waiting_retries: tuple[WaitingRetries, ...]
    delayed_events: DelayedEvents
    dead_letters: DeadLetterCounts
    long_work: tuple[LongWork, ...]
    oldest_unacked: dict[str, datetime]
    """By consumer, when its oldest message was stored that it has not acked."""


async def read_overview(connection: NatsConnection, dead_letters: DeadLetterCounter | None = None) -> Overview:
    """Read the overview. A caller that repeats it passes the counter of before, which reads only new dead letters.

    Raises `StreamMissing`, `BrokerUnavailable`.
    """
    infos = [await stream_info(connection, name) for name in STREAMS]
    now = datetime.fromisoformat(infos[0]["ts"])
    consumer_infos = await durable_consumers(connection)
    consumers = tuple(map(ConsumerState.from_info, consumer_infos))
    return Overview(
        now=now,
        server_version=connection.server_version,
        streams=tuple(map(StreamState.from_info, infos)),
        consumers=consumers,
        waiting_retries=await _read_waiting(connection, {one.job for one in consumers}),
        delayed_events=await read_delayed_events(connection, now),
        dead_letters=await (dead_letters or DeadLetterCounter()).read(connection),
        long_work=await read_long_work(connection),
        oldest_unacked=await _read_oldest(connection, consumer_infos),
    )


async def _read_oldest(connection: NatsConnection, consumers: list[dict[str, Any]]) -> dict[str, datetime]:
    found = {info["name"]: await oldest_unacked(connection, info) for info in consumers}
    return {name: stored_at for name, stored_at in found.items() if stored_at}


async def _read_waiting(connection: NatsConnection, jobs: set[str]) -> tuple[WaitingRetries, ...]:
    """Read the waiting retries of `jobs`, and of those without a consumer that have some of the oldest ones.

    NATS takes six seconds to list the subjects of a million retries, and each command gives up before.
    """
    oldest = await read_page(connection, ">", 1, MAX_SCHEDULES, RETRY_STREAM)
    jobs = jobs | {one.subject.split(".")[2] for one in oldest.messages}
    waiting = [await read_waiting_retries(connection, job) for job in sorted(jobs)]
    return tuple(one for one in waiting if one.count)
