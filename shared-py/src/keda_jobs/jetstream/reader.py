"""Reader of stored messages. It uses batched direct gets: no consumer is made, and nothing changes."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import datetime

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from keda_jobs.domain.headers import Headers
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import stream_info
from keda_jobs.jetstream.client import received_headers, status_text
from keda_jobs.jetstream.connection import ANSWER_TIMEOUT_S, NatsConnection

# The server sends bodies as well, each of up to its max_payload (1 MB by default). This bounds the memory.
_MAX_BYTES = 4 * 2**20
# Small, so that a slow reader meets few messages that were deleted meanwhile.
_PAGE_SIZE = 100


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """Message as it is stored in the stream."""

    subject: str
    sequence: int
    stored_at: datetime
    headers: Mapping[str, str]
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Stored messages, oldest first, and the number of matching ones behind them."""

    messages: tuple[StoredMessage, ...]
    left: int

    @property
    def count(self) -> int:
        """Number of messages on the page and behind it."""
        return len(self.messages) + self.left


async def read_page(connection: NatsConnection, pattern: str, first: int, limit: int, stream: str = STREAM) -> Page:
    """Read up to `limit` messages whose subject matches `pattern`, from sequence `first` on.

    A page has at most 4 MiB, but at least one message. Raises `BrokerUnavailable`.
    """
    return await _read(connection, stream, pattern, {"seq": first, "next_by_subj": pattern, "batch": limit})


async def count_since(connection: NatsConnection, pattern: str, moment: datetime, stream: str) -> int:
    """Count the messages whose subject matches `pattern`, stored at `moment` or later. Raises `BrokerUnavailable`."""
    question = {"start_time": moment.isoformat(), "next_by_subj": pattern, "batch": 1}
    return (await _read(connection, stream, pattern, question)).count


async def read_last(connection: NatsConnection, subject: str) -> StoredMessage | None:
    """Return the newest message on `subject`, if there is one. Raises `BrokerUnavailable`."""
    page = await _read(connection, STREAM, subject, {"multi_last": [subject]})
    return next(iter(page.messages), None)


async def first_since(connection: NatsConnection, moment: datetime) -> int | None:
    """Return the number of the first message stored since `moment`, if there is one. Raises `BrokerUnavailable`."""
    question = {"start_time": moment.isoformat(), "next_by_subj": ">", "batch": 1}
    page = await _read(connection, STREAM, ">", question)
    return page.messages[0].sequence if page.messages else None


async def read_all(
    connection: NatsConnection, pattern: str, *, first: int = 1, last: int | None = None
) -> AsyncGenerator[StoredMessage]:
    """Yield the messages from sequence `first` to `last`, oldest first. Without `last`, up to those stored now.

    Raises `StreamMissing`, `BrokerUnavailable`.
    """
    if last is None:
        last = int((await stream_info(connection))["state"]["last_seq"])
    position, left = first - 1, 1
    while left and position < last:
        page = await read_page(connection, pattern, position + 1, _PAGE_SIZE)
        for message in page.messages:
            if message.sequence > last:
                return
            position = message.sequence
            yield message
        left = page.left


async def read_message(connection: NatsConnection, sequence: int) -> StoredMessage | None:
    """Return the message with this number, if it still exists. Raises `BrokerUnavailable`."""
    page = await read_page(connection, ">", sequence, 1)
    return next((message for message in page.messages if message.sequence == sequence), None)


async def _read(connection: NatsConnection, stream: str, pattern: str, question: Mapping[str, object]) -> Page:
    client = connection.client
    body = json.dumps({**question, "max_bytes": _MAX_BYTES}).encode()
    inbox = client.new_inbox()
    try:
        answers = await client.subscribe(inbox)
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{stream}", body, reply=inbox)
            messages: list[StoredMessage] = []
            # The server adds it to each stored message, behind the sender's headers, and to no status.
            while "Nats-Sequence" in received_headers(answer := await answers.next_msg(timeout=ANSWER_TIMEOUT_S)):
                messages.append(_stored_message(answer))
        finally:
            await answers.unsubscribe()
    except NatsError as error:
        raise BrokerUnavailable(f"messages of {pattern} cannot be read: {connection.reason(error)}") from error
    return Page(tuple(messages), _left(received_headers(answer), stream, pattern))


def _stored_message(answer: Msg) -> StoredMessage:
    headers = received_headers(answer)
    stored_at = datetime.fromisoformat(headers["Nats-Time-Stamp"])
    return StoredMessage(headers["Nats-Subject"], int(headers["Nats-Sequence"]), stored_at, headers, answer.data)


def _left(answer: Headers, stream: str, pattern: str) -> int:
    match answer.status:
        case "204":
            return int(answer["Nats-Num-Pending"])
        case "404":
            return 0
        case "503":
            reason = f"no stream {stream} answers; if it is missing, make it with `keda-jobs streams apply`"
        case _:
            reason = status_text(answer)
    raise BrokerUnavailable(f"messages of {pattern} cannot be read: {reason}")
