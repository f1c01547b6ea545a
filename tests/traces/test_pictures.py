"""One picture is one trace, from its event through both jobs, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from image_download.handler import download
from image_resize.handler import resize
from keda_jobs import Context
from keda_jobs.domain.broker import Outgoing
from keda_jobs.errors import Transient
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.handler import Handler, event_type
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.jetstream.connection import connect
from keda_jobs.runtime.job import job_name
from keda_jobs.runtime.otel import OtelTracer
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings, NatsSettings
from keda_jobs.testing import InMemoryBucket
from keda_jobs.testing.defaults import default_settings, in_thread
from stack import NatsServer, until

Declare = Callable[[], Awaitable[None]]


class Site:
    """Replacement of the internet with one picture, which fails a number of times first."""

    def __init__(self, picture: bytes) -> None:
        self.failures = 0
        self._picture = picture

    async def fetch(self, _url: str) -> bytearray:
        if self.failures:
            self.failures -= 1
            raise Transient("the site is busy")
        return bytearray(self._picture)


class Pictures:
    """Both jobs on one NATS server and in one process, and the spans that they end."""

    def __init__(self, url: str, site: Site) -> None:
        self._url = url
        self._site = site
        self._bucket = InMemoryBucket()
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider()
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OtelTracer(self._provider, "keda-jobs")

    @asynccontextmanager
    async def consuming(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for handler in (download, resize):
                await stack.enter_async_context(self._job(handler))
            yield

    @asynccontextmanager
    async def _job(self, handler: Handler) -> AsyncIterator[None]:
        job, settings = job_name(handler), default_settings(handler, JobSettings)
        settings = settings.model_copy(update={"retry_step_s": 0.2})
        async with connect(NatsSettings(nats_url=self._url), name=job, wait=False) as connection:
            broker = await JetStreamBroker.bind(connection, f"{job}-consumer", fetch_s=0.3)
            runner = Runner(
                event_type(handler),
                handler,
                lambda message: Context(settings, message, in_thread, self._site, self._bucket),
                timeout_s=10,
            )
            process = Process(job, settings, OtelTracer(self._provider, job))
            consumer = Consumer(process, broker, runner, EventMetrics(job, settings))
            running = asyncio.create_task(consumer.run())
            yield
            process.shutdown.request()
            await running

    async def ask_for(self, url: str) -> None:
        async with connect(NatsSettings(nats_url=self._url), name="test", wait=False) as connection:
            broker = await JetStreamBroker.bind(connection, "nobody")
            with self.tracer.publish("image-download") as span:
                event = b'{"url":"%s"}' % url.encode()
                await broker.publish(Outgoing("image-download", event, "a", span.inject({})))

    async def ended(self, number: int) -> list[ReadableSpan]:
        """Wait for `number` spans, in the order in which they began."""

        def enough() -> tuple[ReadableSpan, ...]:
            spans = self._exporter.get_finished_spans()
            return spans if len(spans) >= number else ()

        spans: tuple[ReadableSpan, ...] = await until(enough)
        return sorted(spans, key=lambda span: span.start_time or 0)


@pytest.fixture
async def pictures(nats_server: NatsServer, declare: Declare, picture: bytes) -> Pictures:
    await declare()
    return Pictures(nats_server.url, Site(picture))


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return int(span.parent.span_id)


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


def linked(span: ReadableSpan) -> list[int]:
    return [link.context.span_id for link in span.links]


def traces(spans: list[ReadableSpan]) -> int:
    return len({span.context.trace_id for span in spans if span.context})


def values(span: ReadableSpan, *names: str) -> list[Any]:
    return [(span.attributes or {}).get(name) for name in names]


async def test_a_picture_is_one_trace_through_both_jobs(pictures: Pictures) -> None:
    async with pictures.consuming():
        await pictures.ask_for("http://site/a.png?token=secret")
        spans = await pictures.ended(3)
    published, downloaded, resized = spans
    assert [span.name for span in spans] == [
        "publish image-download",
        "process image-download",
        "process image-downloaded",
    ]
    assert [span.kind.name for span in spans] == ["PRODUCER", "CONSUMER", "CONSUMER"]
    assert traces(spans) == 1
    assert published.parent is None
    assert (parent_of(downloaded), linked(downloaded)) == (id_of(published), [id_of(published)])
    assert (parent_of(resized), linked(resized)) == (id_of(downloaded), [id_of(downloaded)])
    message_id = (downloaded.attributes or {})["messaging.message.id"]
    assert isinstance(message_id, str)
    assert message_id.startswith("image-download-1-")
    assert dict(downloaded.attributes or {}) == {
        "messaging.system": "nats",
        "messaging.destination.name": "image-download",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.consumer.group.name": "image-download-consumer",
        "messaging.message.id": message_id,
        "keda_jobs.attempt": 1,
        "keda_jobs.outcome": "acked",
    }
    assert "secret" not in "".join(span.to_json() for span in spans)


async def test_retries_are_in_the_trace_and_linked_to_the_first_try(pictures: Pictures) -> None:
    pictures._site.failures = 2
    async with pictures.consuming():
        await pictures.ask_for("http://site/a.png")
        spans = await pictures.ended(5)
    published, first, second, third, resized = spans
    assert traces(spans) == 1
    assert parent_of(first) == id_of(published)
    for retry in (second, third):
        assert (parent_of(retry), linked(retry)) == (id_of(first), [id_of(first)])
    assert parent_of(resized) == id_of(third)
    noted = [values(span, "keda_jobs.attempt", "keda_jobs.outcome", "error.type") for span in (first, second, third)]
    assert noted == [[1, "retried", "Transient"], [2, "retried", "Transient"], [3, "acked", None]]
    assert [span.status.is_ok for span in (first, second, third)] == [False, False, True]
