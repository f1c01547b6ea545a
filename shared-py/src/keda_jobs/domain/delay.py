"""Events for later as scheduled messages (ADR-51), so that no process waits.

The schedule waits at `delay.wait.<sender>.<key>` in a stream of its own and fires at `delay.fire.<subject>`. The events
stream sources it from there as `<subject>`. It sources nothing else, so no schedule reaches a retry or a dead letter.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-51.md
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.headers import Header, at_schedule
from keda_jobs.domain.subjects import DELAY_WAIT, delay_fire_subject
from keda_jobs.errors import Permanent

MAX_DELAY = timedelta(days=365)
"""Longest delay. Further away is mostly a slip of the keyboard."""
SENT = "sent"
"""Sender of all events that applications and people publish for later. Jobs have one of their own."""


def of_job(job: str) -> str:
    """Return the sender of the events that handlers of `job` return for later."""
    return f"job.{job}"


class InvalidDelay(Permanent):
    """The time at which to publish an event is in the past, over a year away, or no time."""


def delayed_subject(sender: str, key: str) -> str:
    """Return the subject that holds one event of `sender` until it is due."""
    return f"{DELAY_WAIT}.{sender}.{key}"


def delayed(event: Outgoing, due: datetime, sender: str = SENT) -> Outgoing:
    """Build the message that has NATS publish `event` at `due`, a time with a time zone.

    While one with the same sender, subject and `msg_id` waits, the new one takes its place.
    """
    key = hashlib.sha256(f"{event.subject} {event.msg_id}".encode()).hexdigest()[:32]
    headers = dict(event.headers) | {
        Header.SCHEDULE: at_schedule(due),
        Header.SCHEDULE_TARGET: delay_fire_subject(event.subject),
    }
    return Outgoing(delayed_subject(sender, key), event.data, event.msg_id, headers)


def check_delay(delay_s: float) -> None:
    """Raise `InvalidDelay` unless `delay_s` is from 0 to a year."""
    if not 0 <= delay_s <= MAX_DELAY.total_seconds():
        raise InvalidDelay(f"a delay of {delay_s} s is not from 0 s to {MAX_DELAY.days} days")


def due_in(delay_s: float, now: datetime) -> datetime:
    """Return the time `delay_s` seconds after `now`. Raises `InvalidDelay` unless it is from 0 to a year."""
    check_delay(delay_s)
    return now + timedelta(seconds=delay_s)


def check_due(due: datetime, now: datetime) -> None:
    """Raise `InvalidDelay` unless `due` has a time zone and lies within a year after `now`."""
    if due.utcoffset() is None:
        raise InvalidDelay(f"{due.isoformat()} has no time zone: write {due.isoformat()}Z for UTC")
    if due < now:
        raise InvalidDelay(f"{due.isoformat()} is in the past: it is {now.isoformat(timespec='seconds')}")
    if due > now + MAX_DELAY:
        raise InvalidDelay(f"{due.isoformat()} is more than {MAX_DELAY.days} days away")
