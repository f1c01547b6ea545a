"""The stream seen from outside of all jobs: its messages, and what KEDA reads of its consumers."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Iterable
from typing import Any, NamedTuple

from nats.js.api import ConsumerConfig, ConsumerInfo

from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM, stream_of
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.dead_letters import parse_stored
from keda_jobs.jetstream.reader import StoredMessage, read_all, read_page
from keda_jobs.status.stream import read_waiting_retries
from stack import NatsServer


class Lag(NamedTuple):
    """Messages of a consumer that wait and that are in flight. KEDA scales by their sum."""

    num_pending: int
    num_ack_pending: int


NO_LAG = Lag(0, 0)


class StreamView:
    """A connection of the test's own to `server`."""

    def __init__(self, connection: NatsConnection, server: NatsServer) -> None:
        self._connection = connection
        self._server = server

    async def publish(self, subject: str, events: Iterable[dict[str, Any]]) -> None:
        """Publish each event and wait until it is stored."""
        jetstream = self._connection.jetstream
        for event in events:
            await jetstream.publish(subject, json.dumps(event).encode())

    async def count(self, pattern: str) -> int:
        """Count the messages under the subjects of `pattern`."""
        return (await read_page(self._connection, pattern, 1, 1, stream_of(pattern))).count

    async def stored(self, subject: str) -> list[StoredMessage]:
        """Read the messages under `subject`, oldest first."""
        return [message async for message in read_all(self._connection, subject)]

    async def dead_letters(self) -> list[DeadLetter]:
        """Read the dead letters, oldest first."""
        return [parse_stored(message) for message in await self.stored(DEAD_LETTER)]

    async def add_consumer(self, job: str, subject: str, ack_wait_s: float) -> None:
        """Create the consumer of a job that is none of the repository's."""
        config = ConsumerConfig(
            durable_name=f"{job}-consumer", filter_subjects=[subject, f"retry.due.{job}"], ack_wait=ack_wait_s
        )
        await self._connection.jetstream.add_consumer(STREAM, config)

    async def consumer(self, job: str) -> ConsumerInfo:
        """Read the state of the job's consumer."""
        info: ConsumerInfo = await self._connection.jetstream.consumer_info(STREAM, f"{job}-consumer")
        return info

    async def deliveries(self, job: str) -> int:
        """Count the deliveries of the job's consumer, redeliveries included."""
        delivered = (await self.consumer(job)).delivered
        return delivered.consumer_seq if delivered is not None else 0

    async def lag(self, job: str) -> Lag:
        """Read the lag from the consumer's info."""
        return _lag(await self.consumer(job))

    async def is_worked_off(self, job: str) -> bool:
        """Return whether the job has no message and no retry left.

        A message may begin to wait after the retries were read, and one that waited may be delivered. So nothing may
        be delivered meanwhile.
        """
        before = await self.consumer(job)
        waiting = await read_waiting_retries(self._connection, job)
        after = await self.consumer(job)
        return not waiting.count and before.delivered == after.delivered and _lag(before) == _lag(after) == NO_LAG

    async def lag_for_keda(self, job: str) -> Lag:
        """Read the lag as KEDA does, from the server's monitoring endpoint."""
        answer = await asyncio.to_thread(_json_of, f"{self._server.monitor_url}/jsz?acc=$G&consumers=true&config=true")
        [stream] = [
            stream
            for account in answer["account_details"]
            for stream in account["stream_detail"]
            if stream["name"] == STREAM
        ]
        [consumer] = [found for found in stream["consumer_detail"] if found["name"] == f"{job}-consumer"]
        return Lag(consumer["num_pending"], consumer["num_ack_pending"])


def _lag(info: ConsumerInfo) -> Lag:
    return Lag(info.num_pending or 0, info.num_ack_pending or 0)


def _json_of(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as response:
        return json.load(response)
