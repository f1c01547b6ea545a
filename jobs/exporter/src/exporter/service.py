"""From the environment to a process that answers scrapes until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable

from exporter.metrics import Sample, SampleCollector, queue_samples, stream_samples
from exporter.queues import read_queues
from exporter.scrape import Scraper, Source
from exporter.settings import Settings
from exporter.stream import StreamReader
from keda_jobs.errors import Misconfigured
from keda_jobs.runtime import health, logs
from keda_jobs.settings import PgSettings, load, shown

log = logging.getLogger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT; the exit code, 2 for a setting that is wrong."""
    logs.setup("exporter")
    try:
        settings = load(Settings)
        postgres = load(PgSettings) if settings.pg_dsn else None
        logging.getLogger().setLevel(settings.log_level)
        asyncio.run(_run(settings, postgres))
    except Misconfigured as error:
        log.critical("%s", error)
        return 2
    return 0


async def _run(settings: Settings, postgres: PgSettings | None) -> None:
    log.info("settings: %s", shown(settings))
    serving = asyncio.create_task(_serve(settings, postgres))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    log.info("stopped")


async def _serve(settings: Settings, postgres: PgSettings | None) -> None:
    stream = StreamReader(settings)
    collector = SampleCollector()
    scraper = Scraper(_sources(stream, postgres), collector)
    # It is alive and ready without its sources: the numbers say which of them cannot be read.
    probes = health.serve(
        settings.http_port, alive=_well, ready=_well, registry=collector.registry, refresh=scraper.refresh
    )
    async with probes as port:
        log.info("probes and metrics on port %d", port)
        async with stream.connected():
            await asyncio.Event().wait()


def _well() -> None:
    return None


def _sources(stream: StreamReader, postgres: PgSettings | None) -> dict[str, Source]:
    async def read_stream() -> Iterable[Sample]:
        return stream_samples(await stream.read())

    return {"nats": read_stream} | ({"postgres": _queues_in(postgres)} if postgres else {})


def _queues_in(postgres: PgSettings) -> Source:
    async def read() -> Iterable[Sample]:
        return [sample for queue in await read_queues(postgres) for sample in queue_samples(queue)]

    return read
