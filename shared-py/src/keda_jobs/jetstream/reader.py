"""Messages read where they stand in the stream: no consumer is made, and nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import why
from keda_jobs.jetstream.connection import CONFIRM_S

# The server sends bodies as well, each of up to its max_payload (1 MB by default): this bounds what one answer takes.
_MOST_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it stands in the stream."""

    subject: str
    sequence: int
    stored_at: datetime
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Messages, oldest first, and how many more there are behind them."""

    messages: tuple[Stored, ...]
    left: int

    @property
    def count(self) -> int:
        """Those on the page and behind it."""
        return len(self.messages) + self.left


async def page(client: Client, subject: str, first: int, most: int) -> Page:
    """Up to `most` messages that `subject` takes, from sequence `first` on, in at most 4 MiB (but one in any case).

    Raises `BrokerUnavailable`.
    """
    question = {"seq": first, "next_by_subj": subject, "batch": most, "max_bytes": _MOST_BYTES}
    inbox = client.new_inbox()
    try:
        answers = await client.subscribe(inbox)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{STREAM}", json.dumps(question).encode(), reply=inbox)
            found: list[Stored] = []
            while "Nats-Sequence" in ((answer := await answers.next_msg(timeout=CONFIRM_S)).headers or {}):
                found.append(_stored(answer))
        finally:
            await answers.unsubscribe()
    except NatsError as error:
        raise BrokerUnavailable(f"messages of {subject} cannot be read: {why(client, error)}") from error
    return Page(tuple(found), _left(answer.headers or {}, subject))


def moment(text: str) -> datetime:
    """A time as the server writes it."""
    return datetime.fromisoformat(text)


def _stored(msg: Msg) -> Stored:
    headers = msg.headers or {}
    stored_at = moment(headers["Nats-Time-Stamp"])
    return Stored(headers["Nats-Subject"], int(headers["Nats-Sequence"]), stored_at, headers, msg.data)


def _left(closing: Mapping[str, str], subject: str) -> int:
    match closing.get("Status"):
        case "204":
            return int(closing["Nats-Num-Pending"])
        case "404":
            return 0
        case status:
            raise BrokerUnavailable(f"messages of {subject} cannot be read: the server answers {status}")
