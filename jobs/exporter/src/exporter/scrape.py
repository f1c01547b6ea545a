"""One reading of everything, however many ask for it, and none that outlasts its time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain

from exporter.metrics import Metrics, Sample, source_samples
from keda_jobs.errors import JobError

# Half of what Prometheus waits for an answer by default.
READ_S = 5.0

Source = Callable[[], Awaitable[Iterable[Sample]]]

log = logging.getLogger(__name__)


class Scrape:
    """Reads the sources side by side, and shows what they said."""

    def __init__(self, sources: Mapping[str, Source], metrics: Metrics) -> None:
        self._sources = sources
        self._metrics = metrics
        self._running: asyncio.Task[None] | None = None
        self._troubles: dict[str, str] = {}

    async def refresh(self) -> None:
        """Read once; who asks while a reading is under way gets that one."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._read())
        # One who asks and goes away takes it from nobody else.
        await asyncio.shield(self._running)

    async def _read(self) -> None:
        readings = await asyncio.gather(*(self._read_one(name) for name in self._sources))
        self._metrics.show(chain.from_iterable(readings))

    async def _read_one(self, name: str) -> list[Sample]:
        began = time.monotonic()
        samples: list[Sample] = []
        trouble = ""
        try:
            async with asyncio.timeout(READ_S):
                samples += await self._sources[name]()
        except TimeoutError:
            trouble = f"no answer within {READ_S:g} s"
        except JobError as error:
            trouble = str(error)
        self._report(name, trouble)
        return [*samples, *source_samples(name, is_ok=not trouble, duration_s=time.monotonic() - began)]

    def _report(self, name: str, trouble: str) -> None:
        """Log what is new."""
        if trouble == self._troubles.get(name, ""):
            return
        self._troubles[name] = trouble
        if trouble:
            log.warning("%s cannot be read: %s", name, trouble)
        else:
            log.info("%s can be read again", name)
