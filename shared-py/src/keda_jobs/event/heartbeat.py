"""In-progress signals for every message in flight, from one task."""

from __future__ import annotations

import asyncio
import logging

from keda_jobs.domain.broker import Delivery
from keda_jobs.errors import BrokerUnavailable

log = logging.getLogger(__name__)


class Heartbeat:
    """Restarts the `ack_wait` timer of each delivery in flight, every `interval_s` seconds."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._in_flight: set[Delivery] = set()

    def begin(self, delivery: Delivery) -> None:
        """Send signals for `delivery` from now on."""
        self._in_flight.add(delivery)

    def end(self, delivery: Delivery) -> None:
        """Send no more signals for `delivery`.

        A signal after an ack or a nak would restart an expired timer. One task and one connection write in order, so
        leaving the set is enough: a signal that has begun is already ahead of the ack on the wire.
        """
        self._in_flight.discard(delivery)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            for delivery in tuple(self._in_flight):
                if delivery in self._in_flight:
                    await self._beat(delivery)

    async def _beat(self, delivery: Delivery) -> None:
        try:
            await delivery.in_progress()
        except BrokerUnavailable as error:
            log.warning("%s", error)
