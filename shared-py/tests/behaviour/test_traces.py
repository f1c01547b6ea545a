"""Spans of the loop: where they belong, what they say, and that a stranger's headers do no harm."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.message import Message
from keda_jobs.errors import Permanent
from keda_jobs.event.consumer import Consumer
from keda_jobs.runtime.otel import OtelTracer
from stack import until

from .conftest import JOB, World
from .consuming import Greet, Greeted, all_dead, consuming

TRACE, SENDER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SENDER}-01"


class Recorder:
    """Tracer whose spans stay in memory."""

    def __init__(self, **options: Any) -> None:
        self.provider = TracerProvider(**options)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OtelTracer(self.provider, JOB)

    async def ended(self, number: int = 1) -> tuple[ReadableSpan, ...]:
        """Wait for `number` spans."""

        def enough() -> tuple[ReadableSpan, ...]:
            spans = self._exporter.get_finished_spans()
            return spans if len(spans) >= number else ()

        spans: tuple[ReadableSpan, ...] = await until(enough)
        return spans


async def greet(_event: Greet, _message: Message) -> None:
    """Do nothing."""


async def deliver(world: World, recorder: Recorder, handle: Any = greet, **headers: str) -> ReadableSpan:
    """Deliver a message with these headers and return its span."""
    await world.broker.publish(Outgoing("greet", b'{"n":1}', "greet:1", headers))
    async with consuming(world, handle, tracer=recorder.tracer):
        return (await recorder.ended())[0]


def trace_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent else None


def exemplars(consumer: Consumer) -> list[dict[str, str]]:
    """List the exemplars of the histogram of durations."""
    return [
        sample.exemplar.labels
        for metric in consumer._metrics.registry.collect()
        for sample in metric.samples
        if metric.name == "keda_jobs_message_duration_seconds" and sample.exemplar
    ]


@pytest.fixture
def outcomes(caplog: pytest.LogCaptureFixture) -> Callable[[], list[Any]]:
    """List the log lines on outcomes."""
    caplog.set_level(logging.INFO)
    return lambda: [record for record in caplog.records if hasattr(record, "outcome")]


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT"])
async def test_a_delivery_is_a_child_of_what_its_sender_did(world: World, name: str) -> None:
    span = await deliver(world, Recorder(), **{name: PARENT})
    assert (trace_of(span), parent_of(span)) == (TRACE, SENDER)


async def test_the_senders_state_goes_on_with_the_context(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n)

    await deliver(world, Recorder(), handle, traceparent=PARENT, tracestate="vendor=1,other=a b")
    (headers,) = await world.headers("greeted")
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert headers["tracestate"] == "vendor=1,other=a b"


HOSTILE = {
    "nonsense": {"traceparent": "let me in"},
    "control characters": {"traceparent": "\x1b[2J" + PARENT},
    "no ids": {"traceparent": f"00-{'0' * 32}-{'0' * 16}-01"},
    "a version that is none": {"traceparent": "ff" + PARENT[2:]},
    "a tail": {"traceparent": PARENT + "-x"},
    "long": {"traceparent": f"01{PARENT[2:]}-{'x' * 10_000}"},
    "only a state": {"tracestate": "a=1"},
}


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
async def test_a_header_that_is_none_of_w3c_begins_a_new_trace(
    world: World, headers: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        span = await deliver(world, Recorder(), **headers)
    assert span.parent is None
    assert not span.links
    assert (span.attributes or {})["keda_jobs.outcome"] == "acked"
    assert not caplog.records


STATES = {
    "long": ",".join(f"v{n}={'x' * 200}" for n in range(30)),
    "no pairs": "secret",
    "many": ",".join(f"v{n}=1" for n in range(100)),
}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES)
async def test_a_hostile_state_is_dropped_unsaid(world: World, state: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        span = await deliver(world, Recorder(), traceparent=PARENT, tracestate=state)
    assert span.context is not None
    assert (trace_of(span), parent_of(span)) == (TRACE, SENDER)
    assert not span.context.trace_state
    assert not caplog.records


async def test_a_handlers_own_spans_are_children_of_the_delivery(world: World) -> None:
    recorder = Recorder()

    async def handle(_event: Greet, _message: Message) -> None:
        with recorder.provider.get_tracer("handler").start_as_current_span("own"):
            await asyncio.sleep(0)

    own = await deliver(world, recorder, handle)
    own, delivery = await recorder.ended(2)
    assert own.name == "own"
    assert delivery.context is not None
    assert parent_of(own) == f"{delivery.context.span_id:016x}"


async def test_of_an_error_the_class_is_noted_and_not_its_text(world: World) -> None:
    async def handle(_event: Greet, _message: Message) -> None:
        raise Permanent("http://a/?token=secret")

    span = await deliver(world, Recorder(), handle)
    attributes = span.attributes or {}
    assert (attributes["keda_jobs.outcome"], attributes["error.type"]) == ("dead_lettered", "Permanent")
    assert not span.status.is_ok
    assert "secret" not in span.to_json()


async def test_a_dead_letter_names_the_span_that_failed(world: World) -> None:
    recorder = Recorder()
    await world.broker.publish(Outgoing("greet", b"1", "greet:1", {"Traceparent": PARENT, "Own": "kept"}))
    async with consuming(world, greet, tracer=recorder.tracer):
        await all_dead(world)
    (span,) = await recorder.ended()
    (headers,) = await world.headers("dead-letter")
    own = {name: value for name, value in headers.items() if not name.startswith(("Nats-", "Keda-Jobs-"))}
    assert span.context is not None
    assert own == {"Own": "kept", "traceparent": f"00-{TRACE}-{span.context.span_id:016x}-01"}


async def test_what_a_stop_gives_back_is_no_error(world: World) -> None:
    began = asyncio.Event()

    async def handle(_event: Greet, _message: Message) -> None:
        began.set()
        await asyncio.Event().wait()

    recorder = Recorder()
    await world.broker.publish(Outgoing("greet", b'{"n":1}', "greet:1"))
    async with consuming(world, handle, tracer=recorder.tracer, shutdown_grace_s=0):
        await began.wait()
    (span,) = await recorder.ended()
    assert (span.attributes or {})["keda_jobs.outcome"] == "returned"
    assert "error.type" not in (span.attributes or {})


async def test_what_is_not_sampled_has_a_trace_but_no_exemplar(world: World, outcomes: Callable[[], Any]) -> None:
    recorder = Recorder(sampler=ALWAYS_OFF)
    await world.broker.publish(Outgoing("greet", b'{"n":1}', "greet:1", {"traceparent": PARENT}))
    async with consuming(world, greet, tracer=recorder.tracer) as consumer:
        (line,) = await until(outcomes)
    assert line.trace_id == TRACE
    assert exemplars(consumer) == []


async def test_an_outcomes_line_and_its_duration_name_the_trace(world: World, outcomes: Callable[[], Any]) -> None:
    recorder = Recorder()
    await world.broker.publish(Outgoing("greet", b'{"n":1}', "greet:1"))
    async with consuming(world, greet, tracer=recorder.tracer) as consumer:
        (line,) = await until(outcomes)
    (span,) = await recorder.ended()
    assert line.trace_id == trace_of(span)
    assert exemplars(consumer) == [{"trace_id": trace_of(span)}]


async def test_without_a_tracer_headers_pass_untouched_and_lines_name_no_trace(
    world: World, outcomes: Callable[[], Any]
) -> None:
    await world.broker.publish(Outgoing("greet", b"1", "greet:1", {"Traceparent": PARENT}))
    async with consuming(world, greet):
        (line,) = await until(outcomes)
    assert not hasattr(line, "trace_id")
    (headers,) = await world.headers("dead-letter")
    assert headers["Traceparent"] == PARENT
    assert "traceparent" not in headers
