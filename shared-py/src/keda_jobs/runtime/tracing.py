"""What the loops tell a tracer, and the tracer of those who want no traces; `keda_jobs.runtime.otel` has the other one.

Traces are on where OTEL_EXPORTER_OTLP_ENDPOINT is set. Off, no OpenTelemetry is imported and no header is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from keda_jobs.domain.message import Message
from keda_jobs.errors import Misconfigured
from keda_jobs.settings import Settings, TraceSettings


class Span:
    """One delivery, batch or publish while it is in work; this one is recorded nowhere."""

    trace_id: str | None = None
    """32 hex digits, for log lines."""
    exemplar: dict[str, str] | None = None
    """What a histogram keeps beside a value, where the span is one of those that are recorded."""

    def inject(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The `headers` of a message that is sent because of this one: they name this span."""
        return headers

    def inject_retry(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """The `headers` of the retry of this delivery: they name the span of the first try."""
        return headers

    def end(self, outcome: str, error_class: str | None = None, counts: Mapping[str, int] | None = None) -> None:
        """Note what became of it; with `error_class` it is an error."""


class Tracer:
    """Makes the spans; this one makes none."""

    def delivery(self, message: Message, *, is_retry: bool) -> AbstractContextManager[Span]:
        """The span of one delivery: a child of the span that the message's headers name, and linked to it."""
        return _NO_SPAN

    def publish(self, subject: str) -> AbstractContextManager[Span]:
        """The span of one publish, with which a trace begins."""
        return _NO_SPAN

    def batch(self, batch_id: int, rows: int) -> AbstractContextManager[Span]:
        """The span of one batch, with which a trace begins."""
        return _NO_SPAN


_NO_SPAN = nullcontext(Span())
OFF = Tracer()


@contextmanager
def open_tracer(settings: Settings, service: str) -> Iterator[Tracer]:
    """The tracer that `settings` ask for; what it still holds at the end is sent within two seconds, or lost.

    Raises `Misconfigured` where traces are wanted and OpenTelemetry is not installed.
    """
    if not isinstance(settings, TraceSettings) or settings.otel_exporter_otlp_endpoint is None:
        yield OFF
        return
    try:
        from keda_jobs.runtime import otel as tracing
    except ImportError as error:
        raise Misconfigured(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but traces need keda-jobs[tracing], which is not installed ({error})"
        ) from error
    with tracing.otlp_tracer(service) as tracer:
        yield tracer
