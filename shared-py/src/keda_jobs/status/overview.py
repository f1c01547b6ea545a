"""What `keda-jobs status` shows, gathered from the server within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.subjects import RETRY_WAIT
from keda_jobs.jetstream.api import stream_info
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.flow import messages_by_subject
from keda_jobs.jetstream.reader import moment
from keda_jobs.jetstream.streams import durable_consumers
from keda_jobs.status.dead_letters import DeadLetters, LetterCount
from keda_jobs.status.retries import WaitingRetries, waiting_retries
from keda_jobs.status.stream import ConsumerState, StreamState, consumer_state, stream_state


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
        stream=stream_state(info),
        consumers=tuple(map(consumer_state, await durable_consumers(client))),
        waiting_retries=tuple([await waiting_retries(client, job) for job in await _jobs_that_wait(client)]),
        dead_letters=await LetterCount().read(client),
    )


async def _jobs_that_wait(client: Client) -> list[str]:
    """Those with waiting retries, also where their consumer is gone."""
    return sorted({subject.split(".")[2] for subject in await messages_by_subject(client, f"{RETRY_WAIT}.>")})
