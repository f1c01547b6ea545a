"""Handling of one event."""

from __future__ import annotations

import logging

from <package>.events import <Event>
from <package>.settings import Settings
from keda_jobs import Context, Permanent

_LONGEST = 1024

log = logging.getLogger(__name__)


class Unusable(Permanent):
    """The event cannot be used, and no retry helps."""


async def handle(event: <Event>, job: Context[Settings]) -> None:
    """Log the event. Raises `Unusable`."""
    length = len(event.<field>)
    if not 0 < length <= _LONGEST:
        raise Unusable(f"<field>: {length} characters, not 1 to {_LONGEST}")
    log.info("received", extra={"msg_id": job.message.id, "characters": length})
