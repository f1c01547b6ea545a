"""Choice of the tracer: traces are on if OTEL_EXPORTER_OTLP_ENDPOINT is set.

Otherwise OpenTelemetry is not imported and no header is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from keda_jobs.errors import Misconfigured
from keda_jobs.runtime.spans import OFF, Tracer
from keda_jobs.settings import Settings, TraceSettings


@contextmanager
def open_tracer(settings: Settings, service: str) -> Iterator[Tracer]:
    """Open the tracer that `settings` ask for. Spans left at the end are sent within two seconds or lost.

    Raises `Misconfigured` if traces are on and OpenTelemetry is not installed.
    """
    if not isinstance(settings, TraceSettings) or settings.otel_exporter_otlp_endpoint is None:
        yield OFF
        return
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = settings.otel_exporter_otlp_endpoint  # OpenTelemetry strips nothing
    try:
        from keda_jobs.runtime.otlp import otlp_tracer
    except ImportError as error:
        raise Misconfigured(
            f"OTEL_EXPORTER_OTLP_ENDPOINT is set, but traces need keda-jobs[tracing], which is not installed ({error})"
        ) from error
    with otlp_tracer(service) as tracer:
        yield tracer
