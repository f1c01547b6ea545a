"""Exporter service: answers scrapes with numbers of the stream and the claim queues."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.metrics import Sample, SampleCollector, queue_samples, server_samples, stream_samples
from exporter.queues import read_queues
from exporter.scrape import Scraper, Source
from exporter.server import read_server
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
    scraper = Scraper(_sources(settings, stream), collector)
    # The exporter is alive and ready without its sources: the numbers say which of them cannot be read.
    probes = serve_probes(settings.http_port, collector.registry, refresh=scraper.refresh)
    async with probes, stream.connected():
        process.connected = True
        await process.shutdown.wait()


def _sources(settings: Settings, stream: StreamReader) -> dict[str, Source]:
    async def read_stream() -> Iterable[Sample]:
        return stream_samples(await stream.read())

    sources: dict[str, Source] = {"nats": read_stream}
    if settings.nats_monitoring_url:
        sources["monitoring"] = _server_at(settings.nats_monitoring_url)
    if settings.pg_dsn:
        sources["postgres"] = _queues_in(load_settings(PgSettings))
    return sources


def _server_at(monitoring_url: str) -> Source:
    async def read() -> Iterable[Sample]:
        return server_samples(await read_server(monitoring_url))

    return read


def _queues_in(postgres: PgSettings) -> Source:
    async def read() -> Iterable[Sample]:
        return [sample for queue in await read_queues(postgres) for sample in queue_samples(queue)]

    return read
