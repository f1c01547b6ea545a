"""Which dead letters a command is about."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from nats.aio.client import Client

from keda_jobs.domain.dead_letter import DeadLetter, read_letter
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.jetstream.api import MESSAGE_NOT_FOUND, ApiError, ask, stream_info
from keda_jobs.jetstream.flow import flow, message_at
from keda_jobs.jetstream.reader import Stored, moment

Group = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; what is left empty does not narrow."""

    sequences: frozenset[int] = frozenset()
    subject: str | None = None
    job: str | None = None
    error_class: str | None = None
    older_than: timedelta | None = None
    newer_than: timedelta | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing narrows."""
        return self == DeadLetterFilter()

    def matches(self, letter: DeadLetter, now: datetime) -> bool:
        """Whether `letter` is one of them at the time `now`."""
        age = now - letter.died_at
        return (
            (not self.sequences or letter.sequence in self.sequences)
            and self.subject in (None, letter.subject)
            and self.job in (None, letter.job)
            and self.error_class in (None, letter.error_class)
            and (self.older_than is None or age > self.older_than)
            and (self.newer_than is None or age < self.newer_than)
        )


async def select(
    client: Client, wanted: DeadLetterFilter, *, missing: Callable[[int], None] = lambda _sequence: None
) -> AsyncGenerator[DeadLetter]:
    """The wanted letters, oldest first; `missing` is told of each wanted number that is no dead letter."""
    # The server's clock, because it also gave the letters their times.
    now = moment((await stream_info(client))["ts"])
    if wanted.sequences:
        for sequence in sorted(wanted.sequences):
            letter = await letter_at(client, sequence)
            if letter is None:
                missing(sequence)
            elif wanted.matches(letter, now):
                yield letter
        return
    async with aclosing(flow(client, DEAD_LETTER)) as found:
        async for stored in found:
            letter = _letter(stored)
            if wanted.matches(letter, now):
                yield letter


async def letter_at(client: Client, sequence: int) -> DeadLetter | None:
    """The dead letter with that number, if there is one."""
    stored = await message_at(client, sequence)
    return _letter(stored) if stored is not None and stored.subject == DEAD_LETTER else None


async def delete(client: Client, sequence: int) -> None:
    """Delete a dead letter by its number; one that somebody else deleted before is fine."""
    try:
        await ask(client, f"STREAM.MSG.DELETE.{STREAM}", {"seq": sequence, "no_erase": True})
    except ApiError as error:
        if error.code != MESSAGE_NOT_FOUND and "no message found" not in error.description:
            raise


def group_key(letter: DeadLetter) -> Group:
    """Job, error class and subject: what letters are counted by."""
    return letter.job, letter.error_class, letter.subject


def _letter(stored: Stored) -> DeadLetter:
    return read_letter(stored.sequence, stored.stored_at, stored.data, stored.headers)
