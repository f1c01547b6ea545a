"""Tracer and span as the loops see them. These do nothing, those of `keda_jobs.runtime.otel` do."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

from keda_jobs.domain.message import Message


class Span:
    """Span of a delivery, batch or publish. This one is not recorded."""

    trace_id: str | None = None
    """Trace in 32 hex digits, for log lines."""
    exemplar: dict[str, str] | None = None
    """Labels that a histogram keeps with a value, if the span is sampled."""

    def inject(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return `headers` for a message that follows from this one. They name this span."""
        return headers

    def inject_retry(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return `headers` for the retry of this delivery. They name the span of the first attempt."""
        return headers

    def end(self, outcome: str, error_class: str | None = None, counts: Mapping[str, int] | None = None) -> None:
        """Record the outcome. With `error_class` the span is an error."""


class Tracer:
    """Opens spans. This one opens none."""

    def delivery(self, message: Message, *, is_retry: bool) -> AbstractContextManager[Span]:
        """Open the span of one delivery: a child of the span that the message's headers name, and linked to it."""
        return _NO_SPAN

    def publish(self, subject: str) -> AbstractContextManager[Span]:
        """Open the span of one publish, a child of the current one if there is one."""
        return _NO_SPAN

    def batch(self, batch_id: int, rows: int) -> AbstractContextManager[Span]:
        """Open the span of one batch, which begins a trace."""
        return _NO_SPAN


_NO_SPAN = nullcontext(Span())
OFF = Tracer()
