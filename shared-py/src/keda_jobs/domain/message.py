"""Received messages as values: what was published, the id, and the number of the attempt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple, Self

from keda_jobs.domain.headers import Header, application_headers, header_bytes
from keda_jobs.domain.identity import Identity, utc
from keda_jobs.domain.subjects import due_subject, is_literal

_LONGEST_SUBJECT = 255

STREAM_KEEPS = timedelta(days=14)
"""Age at which the stream deletes a message: `max_age` in jobs/stream.json."""


class Received(NamedTuple):
    """Message as the broker delivers it, before anything in it is trusted.

    `timestamp_ns` is the server's time at which the stream stored it, in nanoseconds since 1970.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    num_delivered: int
    sequence: int
    timestamp_ns: int
    has_readable_headers: bool = True

    @property
    def published_at(self) -> datetime:
        """Time at which the stream stored the message, cut to microseconds."""
        return utc(self.timestamp_ns)


class Message(NamedTuple):
    """One event on its way through one job.

    `id` is the same for all attempts of the job at this event. `attempt` counts deliveries over all retries, including
    this one. `redelivered` says that an earlier delivery may have had its outcome stored already.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    id: Identity
    attempt: int
    sequence: int
    published_at: datetime
    has_readable_headers: bool = True
    redelivered: bool = False

    @property
    def size(self) -> int:
        """Size on the wire in bytes: headers and body."""
        return len(self.data) + header_bytes(self.headers)

    def server_time(self, clock: datetime) -> datetime:
        """Return the time by a pod's `clock`, which may be wrong by years, bounded by the server's own stamp.

        The message was stored before now, and no longer ago than the stream keeps messages.
        """
        return min(max(clock, self.published_at), self.published_at + STREAM_KEEPS)

    def age_s(self, clock: datetime) -> float:
        """Return the seconds since the event was first published, before all its retries, by a pod's `clock`.

        Both times are bounded by the server's own stamp. A replay begins anew.
        """
        return max(0.0, (self.server_time(clock) - self.id.stored_at).total_seconds())

    @classmethod
    def from_delivery(cls, received: Received, job: str) -> Self:
        """Build the message that `received` carries for `job`."""
        subject, identity, earlier = received.subject, None, 0
        if subject == due_subject(job):
            subject, identity, earlier = _carried(received, job)
        return cls(
            subject=subject,
            data=received.data,
            headers=application_headers(received.headers),
            id=identity or Identity(job, received.sequence, received.timestamp_ns),
            attempt=received.num_delivered + earlier,
            sequence=received.sequence,
            published_at=received.published_at,
            has_readable_headers=received.has_readable_headers,
            redelivered=received.num_delivered > 1,
        )


def _carried(retry: Received, job: str) -> tuple[str, Identity | None, int]:
    """Return the subject, the id and the number of earlier deliveries that a retry carries in its headers.

    They are trusted only if they are well-formed, and only on `retry.due.<job>`, because whoever may publish an event
    may set headers.
    """
    subject, count = retry.headers.get(Header.SUBJECT, ""), retry.headers.get(Header.ATTEMPT, "")
    return (
        subject if is_literal(subject) and len(subject) <= _LONGEST_SUBJECT else retry.subject,
        Identity.parse(retry.headers.get(Header.ID, ""), job),
        int(count) if re.fullmatch("[0-9]{1,6}", count) else 0,
    )
