"""Overview of the stream for `keda-jobs status`, read within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.subjects import RETRY_STREAM, RETRY_WAIT
from keda_jobs.jetstream.api import count_by_subject, durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.status.dead_letters import DeadLetterCounter, DeadLetterCounts
from keda_jobs.status.stream import ConsumerState, StreamState, WaitingRetries, read_waiting_retries


@dataclass(frozen=True, slots=True)
class Overview:
    """Stream, consumers, waiting retries and dead letters at the server's time `now`."""

    now: datetime
    server_version: str
    stream: StreamState
    consumers: tuple[ConsumerState, ...]
    waiting_retries: tuple[WaitingRetries, ...]
    dead_letters: DeadLetterCounts


async def read_overview(connection: NatsConnection) -> Overview:
    """Read the overview. Raises `StreamMissing`, `BrokerUnavailable`."""
    info = await stream_info(connection)
    # Also those without a consumer.
    waiting = await count_by_subject(connection, f"{RETRY_WAIT}.>", RETRY_STREAM)
    jobs = sorted({subject.split(".")[2] for subject in waiting})
    return Overview(
        now=datetime.fromisoformat(info["ts"]),
        server_version=connection.server_version,
        stream=StreamState.from_info(info),
        consumers=tuple(map(ConsumerState.from_info, await durable_consumers(connection))),
        waiting_retries=tuple([await read_waiting_retries(connection, job) for job in jobs]),
        dead_letters=await DeadLetterCounter().read(connection),
    )
