"""Schedules in the stream of delayed events: read and cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from keda_jobs.domain.headers import Header
from keda_jobs.domain.schedule import DECLARED
from keda_jobs.domain.subjects import DELAY_WAIT, DELAYED_STREAM, delay_fire_subject
from keda_jobs.jetstream.api import ApiError, request
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import StoredMessage, read_page

_PAGE = 1000
_NO_MESSAGE = 10037
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """Event that waits to be published. Its sender wrote all of it but `key`, which is the end of its subject.

    `when` is the text of its schedule, with `timezone` where it is a cron rule in one, and `due` its time where it is
    published once. The key of one that a job.toml declares is `<job>.<name>`.
    """

    key: str
    subject: str
    when: str
    timezone: str
    due: datetime | None
    sender: str
    event_id: str
    sequence: int

    @classmethod
    def from_stored(cls, message: StoredMessage) -> Self:
        """Read it from the message that holds it."""
        waiting = message.subject.removeprefix(f"{DELAY_WAIT}.")
        divide = waiting.partition if waiting.startswith(f"{DECLARED}.") else waiting.rpartition
        sender, _, key = divide(".")
        when = message.headers.get(Header.SCHEDULE, "")
        subject = message.headers.get(Header.SCHEDULE_TARGET, "").removeprefix(delay_fire_subject(""))
        event_id = message.headers.get("Nats-Msg-Id", "")
        zone = message.headers.get(Header.SCHEDULE_TIME_ZONE, "")
        return cls(key, subject, when, zone, _due(when), sender, event_id, message.sequence)

    @property
    def rule(self) -> str:
        """Text of its schedule, with the time zone if it has one."""
        return f"{self.when} {self.timezone}".strip()


def _due(when: str) -> datetime | None:
    try:
        due = datetime.fromisoformat(when.removeprefix("@at "))
    except ValueError:
        return None
    return due if due.tzinfo is not None else due.replace(tzinfo=UTC)


async def read_schedules(connection: NatsConnection, key: str = "") -> AsyncIterator[Schedule]:
    """Yield all schedules, or those whose key begins with `key`, in the order in which they were stored.

    Raises `BrokerUnavailable`.
    """
    async for message in read_waiting(connection, f"{DELAY_WAIT}.>"):
        schedule = Schedule.from_stored(message)
        if schedule.key.startswith(key):
            yield schedule


async def read_waiting(connection: NatsConnection, pattern: str) -> AsyncIterator[StoredMessage]:
    """Yield the messages that hold schedules, of all subjects that match `pattern`. Raises `BrokerUnavailable`."""
    position = 1
    while (page := await read_page(connection, pattern, position, _PAGE, DELAYED_STREAM)).messages:
        for message in page.messages:
            yield message
        position = page.messages[-1].sequence + 1


async def read_first_schedules(connection: NatsConnection, limit: int) -> tuple[list[Schedule], int]:
    """Return the schedules stored first, and the number of all. Raises `BrokerUnavailable`."""
    page = await read_page(connection, f"{DELAY_WAIT}.>", 1, limit, DELAYED_STREAM)
    return [Schedule.from_stored(message) for message in page.messages], page.count


async def find_schedule(connection: NatsConnection, sequence: int) -> Schedule | None:
    """Return the schedule with this number in the stream, if it still waits. Raises `BrokerUnavailable`."""
    page = await read_page(connection, f"{DELAY_WAIT}.>", sequence, 1, DELAYED_STREAM)
    return next((Schedule.from_stored(one) for one in page.messages if one.sequence == sequence), None)


def earliest_first(schedules: Iterable[Schedule]) -> list[Schedule]:
    """Sort by the time at which they are due. Those that repeat come first."""
    return sorted(schedules, key=lambda one: one.due or _EARLIEST)


async def cancel_schedule(connection: NatsConnection, sequence: int) -> bool:
    """Delete the schedule that message `sequence` holds. Return False if it has fired or was replaced.

    Raises `BrokerUnavailable`.
    """
    try:
        await request(connection, f"STREAM.MSG.DELETE.{DELAYED_STREAM}", {"seq": sequence, "no_erase": True})
    except ApiError as error:
        if error.code != _NO_MESSAGE:
            raise
        return False
    return True
