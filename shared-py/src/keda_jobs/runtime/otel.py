"""Traces with OpenTelemetry: its messaging conventions, context in W3C headers, export as OTLP over HTTP.

Only `keda_jobs.runtime.tracing.open_tracer` imports this module, because it needs the extra `tracing`.
https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/  https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from keda_jobs.domain.message import Message
from keda_jobs.runtime.tracing import Span, Tracer

# A collector that hangs must not delay the end of the process: the pod's 45 s are for the messages.
_FLUSH_S = 2.0
_LOG_EVERY_S = 60.0
# W3C allows to drop longer ones. A hostile header would grow every message that follows.
_LONGEST_HEADER = 512

_W3C = TraceContextTextMapPropagator()
# It would log a hostile header that it does not understand as it is.
logging.getLogger("opentelemetry.trace").setLevel(logging.CRITICAL)

_Attributes = dict[str, str | int]


class OtlpTracer(Tracer):
    """Tracer of a service, which is a job or the command `keda-jobs`."""

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
        with self._span(f"process {message.subject}", SpanKind.CONSUMER, attributes, carried) as span:
            yield _OtlpSpan(span, keeps_context=is_retry and _span_context(carried).is_valid)

    @contextmanager
    def publish(self, subject: str) -> Iterator[Span]:
        """Open the span of one publish."""
        attributes = _messaging(subject, "publish", "send")
        with self._span(f"publish {subject}", SpanKind.PRODUCER, attributes) as span:
            yield _OtlpSpan(span)

    @contextmanager
    def batch(self, batch_id: int, rows: int) -> Iterator[Span]:
        """Open the span of one batch. Spans that the handler opens for its rows are its children."""
        attributes: _Attributes = {"keda_jobs.batch.id": batch_id, "keda_jobs.batch.rows": rows}
        with self._span(f"batch {self._service}", SpanKind.INTERNAL, attributes) as span:
            yield _OtlpSpan(span)

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, attributes: _Attributes, carried: Context | None = None
    ) -> Iterator[trace.Span]:
        """Open a span as the current one. Record only the class of an exception, because its text may hold a URL."""
        carried = carried or Context()
        sender = _span_context(carried)
        links = [trace.Link(sender)] if sender.is_valid else []
        span = self._tracer.start_span(name, carried, kind, attributes, links)
        with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
            try:
                yield span
            except Exception as error:
                _fail(span, type(error).__name__)
                raise


class _OtlpSpan(Span):
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


@contextmanager
def otlp_tracer(service: str) -> Iterator[Tracer]:
    """Open a tracer that sends its spans to the collector of the environment. No message ever waits for it.

    A bounded queue and a thread are in between. A span that does not fit, or is not sent in time, is dropped.
    OpenTelemetry's own variables (OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_…) apply.
    """
    # It logs every try to reach a collector that is unavailable.
    logging.getLogger(OTLPSpanExporter.__module__).addFilter(_OncePerMinute())
    provider = TracerProvider(resource=Resource.create({"service.name": service}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    # For the handler's own spans, and for instrumented libraries.
    trace.set_tracer_provider(provider)
    try:
        yield OtlpTracer(provider, service)
    finally:
        # The thread is a daemon and may be left running: shutdown waits half a minute for a collector that hangs.
        flush = threading.Thread(target=provider.shutdown, daemon=True)
        flush.start()
        flush.join(_FLUSH_S)


class _OncePerMinute(logging.Filter):
    """Filter that passes one line a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._next_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next_at:
            return False
        self._next_at = record.created + _LOG_EVERY_S
        return True


def _messaging(subject: str, name: str, kind: str) -> _Attributes:
    return {
        "messaging.system": "nats",
        "messaging.destination.name": subject,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
    }


def _read_context(headers: Mapping[str, str]) -> Context:
    """Read the context from `headers`, named in any case (Go clients write `Traceparent`). An invalid one is empty."""
    lower = {name.lower(): value for name, value in headers.items() if len(value) <= _LONGEST_HEADER}
    return _W3C.extract({name: lower[name] for name in _W3C.fields & lower.keys()}, Context())


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _fail(span: trace.Span, error_class: str) -> None:
    span.set_attribute("error.type", error_class)
    span.set_status(StatusCode.ERROR)
