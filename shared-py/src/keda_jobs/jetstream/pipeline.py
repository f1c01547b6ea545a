"""Pipelined publishing: many events in flight, each confirmed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, Callable
from datetime import datetime

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import delayed
from keda_jobs.errors import JobError
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.runtime.shutdown import cancel_on
from keda_jobs.runtime.spans import Tracer

# Enough to fill a link. With messages of at most 1 MB it also bounds the memory.
_WINDOW = 128
# After an interruption. A server that is well confirms all in flight within milliseconds.
_CONFIRM_S = 0.5


class Pipeline:
    """Publisher of numbered events to one subject. `confirmed` counts those that are stored."""

    def __init__(self, subject: str, tracer: Tracer, due: datetime | None = None) -> None:
        """`due` is the time at which NATS is to publish the events, by default at once."""
        self.subject = subject
        self.due = due
        self.confirmed = 0
        self.interrupted = False
        self.unconfirmed: set[int] = set()
        """Numbers of the events that were sent and not confirmed: in flight, refused, or without an answer."""
        self.rest_from: int | None = 0
        """Number of the first event that was not sent, None once all were."""
        self._tracer = tracer
        self._slots = asyncio.Semaphore(_WINDOW)
        self._error: JobError | None = None

    async def run(
        self,
        connection: NatsConnection,
        events: AsyncIterable[tuple[int, bytes]],
        stop: asyncio.Event,
        progress: Callable[[int], None],
    ) -> None:
        """Publish `events` until the end, `stop`, or the first refusal, which is raised once all in flight have ended.

        After `stop` it waits half a second for those in flight. Call `progress` with the number confirmed.
        """
        in_flight: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            waking = group.create_task(self._wake_on(stop))
            async for number, event in events:
                self.rest_from = number
                await self._slots.acquire()
                if self._error is not None or stop.is_set():
                    break
                self.unconfirmed.add(number)
                task = group.create_task(self._publish(connection, number, event, progress))
                in_flight.add(task)
                task.add_done_callback(in_flight.discard)
            else:
                self.rest_from = None
            await _settle(in_flight, stop)
            waking.cancel()
        self.interrupted = stop.is_set() and (self.rest_from is not None or bool(self.unconfirmed))
        if self._error is not None:
            raise self._error

    async def _wake_on(self, stop: asyncio.Event) -> None:
        """Free a slot on `stop`, because a server that does not answer frees none."""
        await stop.wait()
        self._slots.release()

    async def _publish(
        self, connection: NatsConnection, number: int, event: bytes, progress: Callable[[int], None]
    ) -> None:
        try:
            with self._tracer.publish(self.subject) as span:
                outgoing = Outgoing(self.subject, event, f"pub:{uuid.uuid4()}", span.inject({}))
                await publish_with_retry(connection, outgoing if self.due is None else delayed(outgoing, self.due))
            self.confirmed += 1
            self.unconfirmed.discard(number)
            progress(self.confirmed)
        except JobError as error:
            self._error = self._error or error
        finally:
            self._slots.release()


async def _settle(in_flight: set[asyncio.Task[None]], stop: asyncio.Event) -> None:
    """Wait for all `in_flight`, after `stop` only for a moment, and cancel the others."""
    if in_flight:
        await cancel_on(stop, asyncio.wait(set(in_flight)))
    if in_flight:
        await asyncio.wait(set(in_flight), timeout=_CONFIRM_S)
    for task in in_flight:
        task.cancel()
