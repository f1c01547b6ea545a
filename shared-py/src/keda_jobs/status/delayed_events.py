"""Events for later: how many wait, and whether NATS publishes them in time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from keda_jobs.domain.subjects import DELAY_WAIT, DELAYED_STREAM, delay_fire_subject
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import Page, StoredMessage, first_since, read_page
from keda_jobs.jetstream.schedules import Schedule
from keda_jobs.status.stream import MAX_SCHEDULES

LATE = timedelta(minutes=1)
"""Time after which an event that is due counts as overdue. After a restart of NATS it may take 25 s."""


@dataclass(frozen=True, slots=True)
class DelayedEvents:
    """Events that wait to be published later, and schedules that repeat, which have no due time.

    One whose schedule has fired waits until the events stream has taken it. Where `is_exact` is false, an event may be
    due before `next_due`, and more may be overdue.
    """

    count: int
    overdue: int
    next_due: datetime | None
    is_exact: bool


async def read_delayed_events(connection: NatsConnection, now: datetime) -> DelayedEvents:
    """Read the events that wait at the server's time `now`. Raises `BrokerUnavailable`."""
    waiting = await read_page(connection, f"{DELAY_WAIT}.>", 1, MAX_SCHEDULES, DELAYED_STREAM)
    fired = await _read_fired(connection)
    due = [due for message in waiting.messages if (due := Schedule.from_stored(message).due)]
    due += [message.stored_at for message in fired.messages]
    return DelayedEvents(
        count=waiting.count + fired.count,
        overdue=sum(moment < now - LATE for moment in due),
        next_due=min(due, default=None),
        is_exact=not waiting.left and not fired.left,
    )


async def _read_fired(connection: NatsConnection) -> Page:
    """Read the fired events from the first one on that the events stream has not taken.

    After a crash nats-server 2.15.1 may leave taken ones in the delayed stream. It takes them in their order.
    """
    pattern = delay_fire_subject(">")
    fired = await read_page(connection, pattern, 1, MAX_SCHEDULES, DELAYED_STREAM)
    while fired.messages and (taken := await _taken(connection, fired.messages[0])) >= fired.messages[0].sequence:
        fired = await read_page(connection, pattern, taken + 1, MAX_SCHEDULES, DELAYED_STREAM)
    return fired


async def _taken(connection: NatsConnection, fired: StoredMessage) -> int:
    """Return the highest number that was taken of the event's subject soon after it fired, 0 if none was."""
    first = await first_since(connection, fired.stored_at)
    if first is None:
        return 0
    subject = fired.subject.removeprefix(delay_fire_subject(""))
    page = await read_page(connection, subject, first, MAX_SCHEDULES)
    sources = [message.headers.get("Nats-Stream-Source", "") for message in page.messages]
    numbers = [re.match(rf"{DELAYED_STREAM} ([0-9]{{1,19}}) ", source) for source in sources]
    return max((int(number[1]) for number in numbers if number), default=0)
