"""Identity of a message, from which every id that the broker sees derives."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc(timestamp_ns: int) -> datetime:
    """Return the time of a timestamp in nanoseconds since 1970, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=timestamp_ns // 1000)


def nanoseconds(time: str) -> int:
    """Return the nanoseconds since 1970 of a server's time such as `2026-11-27T06:37:58.123456789Z`."""
    seconds, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


class Identity(NamedTuple):
    """Identity of one message for one job: `<job>-<sequence>-<server's time in ns>`.

    The broker drops a message whose id it has seen. So an id must be unknown to publishers and differ once a stream is
    recreated, which the time ensures. Two jobs that read one subject must not share one. It is one part of a subject.
    """

    job: str
    sequence: int
    timestamp_ns: int

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return f"{self.job}-{self.sequence}-{self.timestamp_ns}"

    @property
    def stored_at(self) -> datetime:
        """Time at which the stream stored the message, cut to microseconds."""
        return utc(self.timestamp_ns)

    def msg_id(self, publication: str) -> str:
        """Return the `Nats-Msg-Id` of what the job publishes for the message, such as its dead letter."""
        return f"{self}:{publication}"

    @classmethod
    def of(cls, job: str, sequence: int, stored_at: datetime) -> Self:
        """Return the identity of a message of which only the microseconds are known."""
        return cls(job, sequence, (stored_at - _EPOCH) // timedelta(microseconds=1) * 1000)

    @classmethod
    def parse(cls, text: str, job: str) -> Self | None:
        """Return the identity that `text` names, if it is one of `job`."""
        found = re.fullmatch(rf"{re.escape(job)}-([1-9][0-9]{{0,19}})-([1-9][0-9]{{0,19}})", text, re.ASCII)
        return cls(job, int(found[1]), int(found[2])) if found else None
