"""Retries as scheduled messages (ADR-51), so that a waiting retry holds neither a pod nor an ack-pending slot.

The schedule waits at `retry.wait.<job>.<id>` in a stream of its own and fires at `retry.fire.<job>`. The events stream
sources it from there as `retry.due.<job>`, which only that job consumes.
https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-51.md
"""

from __future__ import annotations

from datetime import datetime, timedelta

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.headers import Header, at_schedule
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import fire_subject, waiting_subject

_RETURN_DELAY = timedelta(seconds=1)


def scheduled_retry(message: Message, job: str, delay_s: float, now: datetime) -> Outgoing:
    """Build the next delivery of `message`, due `delay_s` seconds after `now` (UTC).

    The server strips `Nats-Msg-Id` when the schedule fires, so id and attempt travel in our own headers.
    """
    due = now + timedelta(seconds=delay_s)
    return _scheduled(message, job, due, message.attempt, message.id.msg_id(f"retry:{message.attempt}"))


def scheduled_return(message: Message, job: str, now: datetime) -> Outgoing:
    """Build the delivery of `message` to another pod, at once. The delivery that ends here is not counted.

    Its `msg_id` is that of no retry: the server would take one for the other, and drop it.
    """
    msg_id = message.id.msg_id(f"returned:{message.sequence}")
    return _scheduled(message, job, now + _RETURN_DELAY, message.attempt - 1, msg_id)


def _scheduled(message: Message, job: str, due: datetime, deliveries: int, msg_id: str) -> Outgoing:
    headers = dict(message.headers) | {
        Header.SCHEDULE: at_schedule(due),
        Header.SCHEDULE_TARGET: fire_subject(job),
        Header.ID: str(message.id),
        Header.ATTEMPT: str(deliveries),
        Header.SUBJECT: message.subject,
    }
    return Outgoing(waiting_subject(job, str(message.id)), message.data, msg_id, headers)
