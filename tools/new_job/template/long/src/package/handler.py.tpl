"""Work on one event."""

from __future__ import annotations

import asyncio
import logging

from <package>.events import <Event>
from <package>.settings import Settings
from keda_jobs import Permanent
from keda_jobs.long import LongContext

_LONGEST = 1024

log = logging.getLogger(__name__)


class Unusable(Permanent):
    """The event cannot be used, and no retry helps."""


async def handle(event: <Event>, job: LongContext[Settings]) -> None:
    """Take the steps of the work, and say how far it is. Raises `Unusable`."""
    if not 0 < len(event.<field>) <= _LONGEST:
        raise Unusable(f"<field>: {len(event.<field>)} characters, not 1 to {_LONGEST}")
    for step in range(job.settings.steps):
        job.progress(step, job.settings.steps, "steps")
        await asyncio.sleep(1)  # the work: await it, or run it by job.cpu
    log.info("worked", extra={"msg_id": job.message.id, "steps": job.settings.steps})
