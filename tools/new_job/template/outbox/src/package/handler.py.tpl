"""Sending of one row."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, NamedTuple

from <package>.events import <Event>
from <package>.settings import Settings
from keda_jobs import Permanent
from keda_jobs.batch import BatchContext

# Name each further event here and in the annotation of `send`.
EVENTS = {event.subject: event for event in (<Event>,)}


class Entry(NamedTuple):
    """Columns to read. With the time, nobody else can know the ids of the events."""

    subject: str
    payload: Any
    created_at: datetime


class UnknownSubject(Permanent):
    """The job sends no event of this subject."""


async def send(entry: Entry, _job: BatchContext[Settings]) -> <Event>:
    """Return the event of a row. Raises `UnknownSubject` and `InvalidEvent`."""
    if entry.subject not in EVENTS:
        raise UnknownSubject(f"subject: not one of {', '.join(EVENTS)}")
    return EVENTS[entry.subject].decode(json.dumps(entry.payload).encode())
