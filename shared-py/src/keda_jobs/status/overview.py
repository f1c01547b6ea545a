"""Overview of the streams for `keda-jobs status`, read within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from keda_jobs.domain.subjects import RETRY_STREAM, STREAMS
from keda_jobs.jetstream.api import count_by_subject, durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.status.dead_letters import DeadLetterCounter, DeadLetterCounts
from keda_jobs.status.stream import ConsumerState, StreamState, WaitingRetries, read_waiting_retries


@dataclass(frozen=True, slots=True)
class Overview:
    """Streams, consumers, waiting retries and dead letters at the server's time `now`."""

    now: datetime
    server_version: str
    streams: tuple[StreamState, ...]
    consumers: tuple[ConsumerState, ...]
    waiting_retries: tuple[WaitingRetries, ...]
    dead_letters: DeadLetterCounts


async def read_overview(connection: NatsConnection) -> Overview:
    """Read the overview. Raises `StreamMissing`, `BrokerUnavailable`."""
    infos = [await stream_info(connection, name) for name in STREAMS]
    # Also those without a consumer.
    waiting = await count_by_subject(connection, ">", RETRY_STREAM)
    jobs = sorted({subject.split(".")[2] for subject in waiting})
    return Overview(
        now=datetime.fromisoformat(infos[0]["ts"]),
        server_version=connection.server_version,
        streams=tuple(map(StreamState.from_info, infos)),
        consumers=tuple(map(ConsumerState.from_info, await durable_consumers(connection))),
        waiting_retries=tuple([await read_waiting_retries(connection, job) for job in jobs]),
        dead_letters=await DeadLetterCounter().read(connection),
    )
