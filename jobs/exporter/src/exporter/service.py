"""Exporter service: answers scrapes with numbers of the stream and the claim queues."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.metrics import Sample, SampleCollector, queue_samples, stream_samples
from exporter.queues import read_queues
from exporter.scrape import Scraper, Source
from exporter.settings import Settings
from exporter.stream import StreamReader
from keda_jobs.runtime.health import serve_probes
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.trouble import Part
from keda_jobs.settings import PgSettings, load_settings


async def serve(process: Process[Settings]) -> None:
    """Answer scrapes until a shutdown is requested."""
    settings = process.settings
    stream = StreamReader(settings, process.trouble.watch(Part()))
    collector = SampleCollector()
    scraper = Scraper(_sources(stream, load_settings(PgSettings) if settings.pg_dsn else None), collector)
    # The exporter is alive and ready without its sources: the numbers say which of them cannot be read.
    probes = serve_probes(settings.http_port, collector.registry, refresh=scraper.refresh)
    async with probes, stream.connected():
        process.connected = True
        await process.shutdown.wait()


def _sources(stream: StreamReader, postgres: PgSettings | None) -> dict[str, Source]:
    async def read_stream() -> Iterable[Sample]:
        return stream_samples(await stream.read())

    return {"nats": read_stream} | ({"postgres": _queues_in(postgres)} if postgres else {})


def _queues_in(postgres: PgSettings) -> Source:
    async def read() -> Iterable[Sample]:
        return [sample for queue in await read_queues(postgres) for sample in queue_samples(queue)]

    return read
