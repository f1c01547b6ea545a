"""Many publishes at once, each confirmed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterable

from keda_jobs.cli.connection import interruptible
from keda_jobs.cli.terminal import progress_meter
from keda_jobs.domain.broker import Outgoing
from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import Client
from keda_jobs.jetstream.publish import publish
from keda_jobs.runtime.tracing import Tracer

# Enough to fill a link; with messages of 1 MB at most it also bounds the memory.
_WINDOW = 128


class Pipeline:
    """Publishes events to one subject, many at once; `confirmed` counts those that are stored."""

    def __init__(self, subject: str, tracer: Tracer) -> None:
        self.subject = subject
        self.confirmed = 0
        self.interrupted = False
        self._tracer = tracer
        self._slots = asyncio.Semaphore(_WINDOW)
        self._error: JobError | None = None

    async def run(self, client: Client, events: Iterable[bytes], total: int) -> None:
        """Publish `events` until the end, a signal, or the first refusal, which is raised when all are settled."""
        with interruptible() as stop, progress_meter("pub", total) as progress:
            async with asyncio.TaskGroup() as group:
                for event in events:
                    await self._slots.acquire()
                    if stop.is_set() or self._error is not None:
                        break
                    group.create_task(self._one(client, event, progress))
            self.interrupted = stop.is_set() and self.confirmed < total
        if self._error is not None:
            raise self._error

    async def _one(self, client: Client, event: bytes, progress: Callable[[int], None]) -> None:
        try:
            with self._tracer.publish(self.subject) as span:
                await publish(client, Outgoing(self.subject, event, f"pub:{uuid.uuid4()}", span.inject({})))
            self.confirmed += 1
            progress(self.confirmed)
        except JobError as error:
            self._error = error
        finally:
            self._slots.release()
