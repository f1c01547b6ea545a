"""Pipelined publishing: many events in flight, each confirmed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable

from keda_jobs.domain.broker import Outgoing
from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.runtime.tracing import Tracer

# Enough to fill a link. With messages of at most 1 MB it also bounds the memory.
_WINDOW = 128


class Pipeline:
    """Publisher of events to one subject. `confirmed` counts those that are stored."""

    def __init__(self, subject: str, tracer: Tracer) -> None:
        self.subject = subject
        self.confirmed = 0
        self.interrupted = False
        self._tracer = tracer
        self._slots = asyncio.Semaphore(_WINDOW)
        self._error: JobError | None = None

    async def run(
        self,
        connection: NatsConnection,
        events: Iterable[bytes],
        stop: asyncio.Event,
        progress: Callable[[int], None],
    ) -> None:
        """Publish `events` until the end, `stop`, or the first refusal, which is raised once all in flight have ended.

        Call `progress` with the number confirmed.
        """
        async with asyncio.TaskGroup() as group:
            for event in events:
                await self._slots.acquire()
                if self._error is not None:
                    break
                if stop.is_set():
                    self.interrupted = True
                    break
                group.create_task(self._publish(connection, event, progress))
        if self._error is not None:
            raise self._error

    async def _publish(self, connection: NatsConnection, event: bytes, progress: Callable[[int], None]) -> None:
        try:
            with self._tracer.publish(self.subject) as span:
                outgoing = Outgoing(self.subject, event, f"pub:{uuid.uuid4()}", span.inject({}))
                await publish_with_retry(connection, outgoing)
            self.confirmed += 1
            progress(self.confirmed)
        except JobError as error:
            self._error = error
        finally:
            self._slots.release()
