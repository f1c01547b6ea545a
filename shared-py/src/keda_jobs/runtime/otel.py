"""Spans of OpenTelemetry: its messaging conventions, and context in W3C headers.

It needs OpenTelemetry's API alone, which an application may have without `keda-jobs[tracing]`.
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/  https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from keda_jobs.domain.message import Message
from keda_jobs.runtime.spans import Span, Tracer

# W3C allows to drop longer ones. A hostile header would grow every message that follows.
_LONGEST_HEADER = 512

_W3C = TraceContextTextMapPropagator()

_LOG = logging.getLogger("opentelemetry.trace")
_Attributes = dict[str, str | int]


class OtelTracer(Tracer):
    """Tracer of a service: a job, the command `keda-jobs`, or an application."""

    def __init__(self, provider: trace.TracerProvider, service: str) -> None:
        self._service = service
        self._tracer = provider.get_tracer("keda_jobs")

    @contextmanager
    def delivery(self, message: Message, *, is_retry: bool) -> Iterator[Span]:
        """Open the span of one delivery. Spans that the handler opens are its children."""
        attributes = _messaging(message.subject, "process", "process") | {
            "messaging.consumer.group.name": f"{self._service}-consumer",
            "messaging.message.id": str(message.id),
            "keda_jobs.attempt": message.attempt,
        }
        carried = _read_context(message.headers)
        sender = _span_context(carried)
        links = [trace.Link(sender)] if sender.is_valid else []
        with self._span(f"process {message.subject}", SpanKind.CONSUMER, attributes, carried, links) as span:
            yield _OtelSpan(span, keeps_context=is_retry and sender.is_valid)

    @contextmanager
    def publish(self, subject: str) -> Iterator[Span]:
        """Open the span of one publish, a child of the current one."""
        attributes = _messaging(subject, "publish", "send")
        with self._span(f"publish {subject}", SpanKind.PRODUCER, attributes, get_current()) as span:
            yield _OtelSpan(span)

    @contextmanager
    def batch(self, batch_id: int, rows: int) -> Iterator[Span]:
        """Open the span of one batch. Spans that the handler opens for its rows are its children."""
        attributes: _Attributes = {"keda_jobs.batch.id": batch_id, "keda_jobs.batch.rows": rows}
        with self._span(f"batch {self._service}", SpanKind.INTERNAL, attributes) as span:
            yield _OtelSpan(span)

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: _Attributes,
        parent: Context | None = None,
        links: Sequence[trace.Link] = (),
    ) -> Iterator[trace.Span]:
        """Open a span as the current one. Record only the class of an exception, because its text may hold a URL."""
        span = self._tracer.start_span(name, parent or Context(), kind, attributes, links)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except Exception as error:
                _fail(span, type(error).__name__)
                raise


def application_tracer() -> Tracer:
    """Return the tracer that uses what the application has set up, or does nothing where that is nothing."""
    return OtelTracer(trace.get_tracer_provider(), "application")


class _OtelSpan(Span):
    def __init__(self, span: trace.Span, *, keeps_context: bool = False) -> None:
        context = span.get_span_context()
        self._span = span
        self._keeps_context = keeps_context
        self.trace_id = trace.format_trace_id(context.trace_id) if context.is_valid else None
        self.exemplar = {"trace_id": trace.format_trace_id(context.trace_id)} if context.trace_flags.sampled else None

    def inject(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        kept = {name: value for name, value in headers.items() if name.lower() not in _W3C.fields}
        _W3C.inject(kept, trace.set_span_in_context(self._span))
        return kept

    def inject_retry(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        return headers if self._keeps_context else self.inject(headers)

    def end(self, outcome: str, error_class: str | None = None, counts: Mapping[str, int] | None = None) -> None:
        self._span.set_attribute("keda_jobs.outcome", outcome)
        for name, count in (counts or {}).items():
            self._span.set_attribute(f"keda_jobs.batch.{name}", count)
        if error_class is not None:
            _fail(self._span, error_class)


def _messaging(subject: str, name: str, kind: str) -> _Attributes:
    return {
        "messaging.system": "nats",
        "messaging.destination.name": subject,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }


def _read_context(headers: Mapping[str, str]) -> Context:
    """Read the context from `headers`, named in any case (Go clients write `Traceparent`). An invalid one is empty."""
    if _LOG.level != logging.CRITICAL:
        # It would log a hostile header that it does not understand as it is. Only jobs read any.
        _LOG.setLevel(logging.CRITICAL)
    lower = {name.lower(): value for name, value in headers.items() if len(value) <= _LONGEST_HEADER}
    return _W3C.extract({name: lower[name] for name in _W3C.fields & lower.keys()}, Context())


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _fail(span: trace.Span, error_class: str) -> None:
    span.set_attribute("error.type", error_class)
    span.set_status(StatusCode.ERROR)
