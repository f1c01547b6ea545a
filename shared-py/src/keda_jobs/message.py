"""A received message as a value: what was published, by which id it is known, and how often it was tried."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from keda_jobs.subjects import is_literal

ID = "Keda-Jobs-Id"
ATTEMPT = "Keda-Jobs-Attempt"
SUBJECT = "Keda-Jobs-Subject"

_RESERVED = ("nats-", "keda-jobs-")
# What a client may publish again: a header name as HTTP has them, and an id that is one part of a subject.
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_ID = re.compile(r"[0-9A-Za-z_-]{1,255}")
_LONGEST_SUBJECT = 255


@dataclass(frozen=True, slots=True)
class Received:
    """What the broker hands over, before anything of it is believed."""

    subject: str
    data: bytes
    headers: Mapping[str, str]
    num_delivered: int
    sequence: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One event on its way through one job.

    `id` is the same over all attempts of the job at this event. It names the job, because two jobs that
    read one subject must not share an id: the broker would drop one's retry as a duplicate of the other's.
    `attempt` counts deliveries, this one included, over all retries.
    """

    subject: str
    data: bytes
    headers: Mapping[str, str]
    id: str
    attempt: int
    sequence: int
    published_at: datetime

    @property
    def size(self) -> int:
        """Bytes on the wire: headers and body."""
        return len(self.data) + header_bytes(self.headers)


def due_subject(job: str) -> str:
    """The subject on which `job`, and no other, is given back its messages."""
    return f"retry.due.{job}"


def message_of(received: Received, job: str) -> Message:
    """The message that `received` carries for `job`.

    A message that comes back brings its subject, id and count in headers; they are believed only on
    `retry.due.<job>`, because anyone who may publish an event may set headers, and only where they can be ours.
    """
    ours = received.headers if received.subject == due_subject(job) else {}
    subject, carried_id, count = ours.get(SUBJECT, ""), ours.get(ID, ""), ours.get(ATTEMPT, "")
    return Message(
        subject=subject if is_literal(subject) and len(subject) <= _LONGEST_SUBJECT else received.subject,
        data=received.data,
        headers=own_headers(received.headers),
        id=carried_id if _ID.fullmatch(carried_id) else f"{job}-{received.sequence}",
        attempt=received.num_delivered + (int(count) if re.fullmatch("[0-9]{1,6}", count) else 0),
        sequence=received.sequence,
        published_at=received.published_at,
    )


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """`headers` without the server's and the house's: a republished `Nats-*` header can delete a schedule."""
    return {
        name: value
        for name, value in headers.items()
        if _HEADER_NAME.fullmatch(name) and not name.lower().startswith(_RESERVED)
    }


def header_bytes(headers: Mapping[str, str]) -> int:
    """Size of `headers` on the wire, in bytes: `NATS/1.0` CRLF, `name: value` CRLF each, CRLF."""
    if not headers:
        return 0
    return 12 + sum(len(name.encode()) + len(str(value).encode()) + 4 for name, value in headers.items())
