"""What `keda-jobs status` shows, gathered from the server within bounds."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from nats.aio.client import Client

from keda_jobs.cli.reading import flow, messages_by_subject, moment, stream_info
from keda_jobs.dead_letter import JOB, SUBJECT
from keda_jobs.retry import SCHEDULE, WAITING
from keda_jobs.streams import durable_consumers

# So many messages' headers are read for one status, to answer within a second or two at any size.
_MOST_SCHEDULES = 1000
_MOST_LETTERS = 10_000


@dataclass(frozen=True, slots=True)
class StreamState:
    """The stream's size; the times are empty where it holds nothing."""

    messages: int
    bytes: int
    first_time: datetime | None
    last_time: datetime | None


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """A durable consumer; `lag` is what KEDA scales on."""

    name: str
    num_pending: int
    num_ack_pending: int
    num_waiting: int
    num_redelivered: int

    @property
    def lag(self) -> int:
        """Messages not yet acknowledged."""
        return self.num_pending + self.num_ack_pending


@dataclass(frozen=True, slots=True)
class WaitingRetries:
    """A job's scheduled retries; where `is_exact` is false one of them may be due earlier than `next_due`."""

    job: str
    count: int
    next_due: datetime | None
    is_exact: bool


@dataclass(frozen=True, slots=True)
class DeadLetters:
    """The dead letters; where `is_exact` is false not all of them were counted by job."""

    total: int
    by_job: dict[str, int]
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Status:
    """All of it at the server's time `now`."""

    now: datetime
    server_version: str
    stream: StreamState
    consumers: tuple[ConsumerState, ...]
    waiting_retries: tuple[WaitingRetries, ...]
    dead_letters: DeadLetters


async def read_status(client: Client) -> Status:
    """The status now. Raises `StreamMissing`, `BrokerUnavailable`."""
    info = await stream_info(client)
    version = client.connected_server_version
    return Status(
        now=moment(info["ts"]),
        server_version=f"{version.major}.{version.minor}.{version.patch}",
        stream=_stream_state(info["state"]),
        consumers=tuple(map(_consumer_state, await durable_consumers(client))),
        waiting_retries=await _waiting_retries(client),
        dead_letters=await _dead_letters(client),
    )


def _stream_state(state: dict[str, Any]) -> StreamState:
    held = state["messages"] > 0
    first, last = (moment(state[key]) if held else None for key in ("first_ts", "last_ts"))
    return StreamState(state["messages"], state["bytes"], first, last)


def _consumer_state(info: dict[str, Any]) -> ConsumerState:
    keys = ("num_pending", "num_ack_pending", "num_waiting", "num_redelivered")
    return ConsumerState(info["name"], *(int(info[key]) for key in keys))


async def _waiting_retries(client: Client) -> tuple[WaitingRetries, ...]:
    counts: Counter[str] = Counter()
    for subject, count in (await messages_by_subject(client, f"{WAITING}.>")).items():
        counts[subject.split(".")[2]] += count
    return tuple([await _waiting_of(client, job, counts[job]) for job in sorted(counts)])


async def _waiting_of(client: Client, job: str, count: int) -> WaitingRetries:
    due: list[datetime] = []
    read = 0
    async with aclosing(flow(client, f"{WAITING}.{job}.>", headers_only=True)) as schedules:
        async for schedule in schedules:
            read += 1
            with suppress(ValueError):
                due.append(moment(schedule.headers.get(SCHEDULE, "").removeprefix("@at ")))
            if read == _MOST_SCHEDULES:
                break
    return WaitingRetries(job, count, min(due, default=None), is_exact=count <= _MOST_SCHEDULES)


async def _dead_letters(client: Client) -> DeadLetters:
    total = (await messages_by_subject(client, SUBJECT)).get(SUBJECT, 0)
    by_job: Counter[str] = Counter()
    if total:
        async with aclosing(flow(client, SUBJECT, headers_only=True)) as letters:
            async for letter in letters:
                by_job[letter.headers.get(JOB, "")] += 1
                if by_job.total() == _MOST_LETTERS:
                    break
    return DeadLetters(total, dict(by_job), is_exact=total <= _MOST_LETTERS)
