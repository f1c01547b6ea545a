"""Work of a long job's process: one message, then the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keda_jobs.domain.broker import Broker, Delivery
from keda_jobs.domain.message import Message
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.handler import Handler
from keda_jobs.event.main import open_session
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.long.handler import LongContext
from keda_jobs.long.watch import watched
from keda_jobs.runtime.job import Resources
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings


async def work(process: Process[JobSettings], handler: Handler, resources: Resources | None) -> None:
    """Run `handler` on one message, if there is one. Raises `BrokerClosed` when the connection is permanently lost."""
    async with open_session(process, resources) as session:

        def context(message: Message) -> LongContext[Any, Any]:
            return LongContext(process.settings, message, session.cpu, session.resources, session.store)

        await session.run(OneMessage, watched(handler, session.nats), context)


class OneMessage(Consumer):
    """Consumer that fetches once. It ends with its message, or at once where there is none."""

    def __init__(self, process: Process[JobSettings], broker: Broker, runner: Runner, metrics: EventMetrics) -> None:
        super().__init__(process, broker, runner, metrics)
        self._has_fetched = False

    @property
    def is_over(self) -> bool:
        """True once the message is settled, or none was there."""
        return super().is_over or (self._has_fetched and not self._running)

    def _may_fetch(self) -> bool:
        return not self._has_fetched and super()._may_fetch()

    async def _fetch(self) -> Sequence[Delivery]:
        deliveries = await super()._fetch()
        # Without NATS there is no message either, but that says nothing about the work left.
        self._has_fetched = bool(deliveries) or self._trouble.reason is None
        return deliveries
