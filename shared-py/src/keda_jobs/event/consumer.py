"""Intake of an event job: a free slot, a fetch, a task for each delivery, and the drain at the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from keda_jobs.domain.broker import Broker, Delivery
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.event.settle import Settler
from keda_jobs.runtime.backoff import SHORT_S, Backoff
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.shutdown import wait_for
from keda_jobs.settings import JobSettings

log = logging.getLogger(__name__)

_TICK_S = 1.0


class Consumer:
    """Consumer of one job's messages. It asks for no more than there are free slots, and gives back what is beyond."""

    def __init__(self, process: Process[JobSettings], broker: Broker, runner: Runner, metrics: EventMetrics) -> None:
        self._shutdown = process.shutdown
        self._broker = broker
        self._metrics = metrics
        self._trouble = process.trouble
        self._fetch_backoff = process.trouble.watch(Backoff(SHORT_S))
        self._limit = process.settings.concurrency
        self._running: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        backoff = process.trouble.watch(Backoff(on_recovery=self._changed.set))
        self._settler = Settler(process, broker, runner, metrics, backoff)
        process.shutdown.on_request = self._changed.set
        self._ticked_at = time.monotonic()
        metrics.concurrency_limit.set(self._limit)
        metrics.in_flight.set_function(lambda: len(self._running))
        metrics.watch_nats(self._fetch_backoff)
        metrics.watch_nats(self._settler.acks)

    @property
    def idle_s(self) -> float:
        """Seconds since the loop last moved. They grow while it hangs."""
        return time.monotonic() - self._ticked_at

    @property
    def is_over(self) -> bool:
        """True once no more messages are to be fetched."""
        return self._shutdown.requested

    async def run(self) -> None:
        """Consume until `is_over`, then drain. Raises `BrokerClosed` when the connection is permanently lost."""
        heartbeat = asyncio.create_task(self._settler.heartbeat.run(), name="heartbeat")
        try:
            while not self.is_over:
                self._ticked_at = time.monotonic()
                if self._may_fetch():
                    for delivery in await self._fetch():
                        self._start(delivery)
                else:
                    await self._wait_for_change()
            self._settler.fetch_ended.set()
            await self._drain()
        finally:
            self._settler.fetch_ended.set()
            heartbeat.cancel()
            await self._cancel_running()

    def _may_fetch(self) -> bool:
        """Return whether a slot is free and no running message waits for the platform."""
        others = self._trouble.oldest(besides=self._fetch_backoff)
        waiting = self._fetch_backoff.waiting or (others is not None and self._running)
        return len(self._running) < self._limit and not waiting

    async def _fetch(self) -> Sequence[Delivery]:
        # While acks are not confirmed, one message is enough to see whether they are again.
        most = 1 if self._settler.acks.active else self._limit - len(self._running)
        try:
            deliveries = await self._broker.fetch(most)
        except BrokerUnavailable as error:
            self._fetch_backoff.failed(str(error))
            return []
        self._metrics.fetched_at = time.monotonic()
        self._fetch_backoff.reset()
        return deliveries

    def _start(self, delivery: Delivery) -> None:
        has_slot = len(self._running) < self._limit
        task = asyncio.create_task(self._settler.settle(delivery) if has_slot else self._settler.give_back(delivery))
        self._running.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message is not settled and is delivered again after its ack_wait", exc_info=error)

    async def _wait_for_change(self) -> None:
        """Wait for a free slot, a recovery, a shutdown or the next tick."""
        self._changed.clear()
        await wait_for(self._changed, _TICK_S)

    async def _drain(self) -> None:
        """Let running messages finish within the grace."""
        log.info("stopping, %d messages in flight", len(self._running))
        while self._running and (left_s := self._shutdown.deadline - time.monotonic()) > 0:
            self._ticked_at = time.monotonic()
            await asyncio.wait(self._running, timeout=min(left_s, _TICK_S))

    async def _cancel_running(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
