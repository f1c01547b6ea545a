"""Scrapes: all sources are read at once, within a time limit, and concurrent scrapes share one reading."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import chain

from exporter.metrics import Sample, SampleCollector, source_samples
from keda_jobs.errors import JobError

# Half of Prometheus' default scrape timeout.
READ_TIMEOUT_S = 5.0

Source = Callable[[], Awaitable[Iterable[Sample]]]

log = logging.getLogger(__name__)


class Scraper:
    """Reader of all sources at once, into `collector`."""

    def __init__(self, sources: Mapping[str, Source], collector: SampleCollector) -> None:
        self._sources = sources
        self._collector = collector
        self._running: asyncio.Task[None] | None = None
        self._failures: dict[str, str] = {}

    async def refresh(self) -> None:
        """Read the sources, or wait for the reading that is running."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._read())
        # A cancelled scrape must not cancel the shared reading.
        await asyncio.shield(self._running)

    async def _read(self) -> None:
        samples = await asyncio.gather(*(self._read_source(name) for name in self._sources))
        self._collector.replace(chain.from_iterable(samples))

    async def _read_source(self, name: str) -> list[Sample]:
        began = time.monotonic()
        samples: list[Sample] = []
        failure = ""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                samples += await self._sources[name]()
        except TimeoutError:
            failure = f"no answer within {READ_TIMEOUT_S:g} s"
        except JobError as error:
            failure = str(error)
        self._log_change(name, failure)
        return [*samples, *source_samples(name, is_ok=not failure, duration_s=time.monotonic() - began)]

    def _log_change(self, name: str, failure: str) -> None:
        if failure == self._failures.get(name, ""):
            return
        self._failures[name] = failure
        if failure:
            log.warning("cannot read %s: %s", name, failure)
        else:
            log.info("can read %s again", name)
