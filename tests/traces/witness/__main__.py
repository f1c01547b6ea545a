"""`python -m witness`."""

import logging
import sys

from keda_jobs import Context, Event, JobSettings, run


class Asked(Event, subject="image-downloaded"):
    """A question."""


async def tell(event: Asked, job: Context[JobSettings]) -> None:
    """Log what is loaded, and make a span of its own where traces are on."""
    modules = sorted(name for name in sys.modules if name.partition(".")[0] == "opentelemetry")
    logging.getLogger("witness").info("loaded: %s", modules)
    if modules:
        from opentelemetry import trace

        with trace.get_tracer("witness").start_as_current_span("own"):
            """As a handler may."""


if __name__ == "__main__":
    run(tell, JobSettings)
