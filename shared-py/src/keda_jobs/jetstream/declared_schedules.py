"""Schedules of the jobs' `job.toml`: compared with those on the server, and made or cancelled."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace

from keda_jobs.domain.broker import MessageTooLarge, Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.schedule import DECLARED
from keda_jobs.domain.subjects import DELAY_WAIT
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.jetstream.reader import StoredMessage
from keda_jobs.jetstream.schedules import cancel_schedule, read_waiting
from keda_jobs.jetstream.stream_diff import Action, Change, FieldChange

_PREFIX = f"{DELAY_WAIT}.{DECLARED}."
_KEYS = (
    ("rule", Header.SCHEDULE),
    ("timezone", Header.SCHEDULE_TIME_ZONE),
    ("target", Header.SCHEDULE_TARGET),
)


@dataclass(frozen=True, slots=True)
class ScheduleChange(Change):
    """Change of a schedule: the message that has to hold it, or the sequence of the one to delete."""

    message: Outgoing | None = None
    sequence: int = 0


async def schedule_changes(
    connection: NatsConnection, declared: Iterable[Outgoing], *, is_new: bool
) -> list[ScheduleChange]:
    """Compare the declared schedules with those on the server. Where the stream `is_new`, there are none.

    Raises `BrokerUnavailable`.
    """
    stored: dict[str, StoredMessage] = {}
    if not is_new:
        stored = {message.subject: message async for message in read_waiting(connection, f"{_PREFIX}>")}
    changes = [_change(message, stored.pop(message.subject, None), connection.max_payload) for message in declared]
    return changes + [
        ScheduleChange(Action.CANCEL, "schedule", _name(subject), sequence=gone.sequence)
        for subject, gone in sorted(stored.items())
    ]


async def make_schedule(connection: NatsConnection, change: ScheduleChange) -> None:
    """Store or delete a schedule. Raises `BrokerUnavailable`, also where the server refuses it."""
    if change.message is None:
        await cancel_schedule(connection, change.sequence)
    else:
        # A new id each time: NATS would drop a rule that is changed back within two minutes.
        await publish_with_retry(connection, replace(change.message, msg_id=str(uuid.uuid4())))


def _change(declared: Outgoing, stored: StoredMessage | None, max_payload: int) -> ScheduleChange:
    name = _name(declared.subject)
    refusals: tuple[str, ...] = ()
    try:
        declared.wire_headers(max_payload)
    except MessageTooLarge as error:
        refusals = (f"schedule {name}: {error}",)
    if stored is None:
        return ScheduleChange(Action.CREATE, "schedule", name, refusals=refusals, message=declared)
    fields = tuple(_differences(declared, stored))
    action = Action.UPDATE if fields else Action.SAME
    return ScheduleChange(action, "schedule", name, fields, refusals, message=declared)


def _differences(declared: Outgoing, stored: StoredMessage) -> Iterable[FieldChange]:
    for key, header in _KEYS:
        before, after = stored.headers.get(header), declared.headers.get(header)
        if before != after:
            yield FieldChange(key, before, after)
    if stored.data != declared.data:
        yield FieldChange("event", stored.data.decode(errors="replace"), declared.data.decode())


def _name(subject: str) -> str:
    return subject.removeprefix(_PREFIX)
