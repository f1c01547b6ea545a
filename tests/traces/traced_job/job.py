"""Job traced-job: its handler and the event it reads."""

import logging
import sys

from keda_jobs import Context, Event, JobSettings, event_job


class Asked(Event, subject="image-downloaded"):
    """Question."""


async def answer(event: Asked, job: Context[JobSettings]) -> None:
    """Log the loaded modules, and make a span where traces are on."""
    modules = sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry")
    logging.getLogger("traced_job").info("loaded: %s", modules)
    if modules:
        from opentelemetry import trace

        with trace.get_tracer("traced_job").start_as_current_span("own"):
            """As a handler may."""


JOB = event_job(answer, JobSettings)
