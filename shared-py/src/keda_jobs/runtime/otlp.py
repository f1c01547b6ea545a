"""Export of spans to a collector, as OTLP over HTTP.

Only `keda_jobs.runtime.tracing.open_tracer` imports this module, because it needs the extra `tracing`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from keda_jobs.runtime.otel import OtelTracer
from keda_jobs.runtime.spans import Tracer

# A collector that hangs must not delay the end of the process: the pod's 45 s are for the messages.
_FLUSH_S = 2.0
_LOG_EVERY_S = 60.0


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
        yield OtelTracer(provider, service)
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
