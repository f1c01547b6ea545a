"""Publishing with confirmation, and the one mapping of what NATS may answer to our errors."""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from keda_jobs.domain.broker import MessageTooLarge, NotConfirmed, Outgoing
from keda_jobs.domain.subjects import STREAM, stream_of
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.reader import read_message
from keda_jobs.jetstream.replies import AnswerLost, NoRight

log = logging.getLogger(__name__)

_MESSAGE_TOO_LARGE = 10054
_OTHER_STREAM = 10060


class PublishRefused(BrokerUnavailable):
    """The server refused to store the message, and would refuse the next one on this subject too."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Answer of the server: stream and number of the message, or of an earlier one with the same `msg_id`."""

    stream: str
    sequence: int
    is_new: bool


async def publish(connection: NatsConnection, outgoing: Outgoing) -> Confirmation:
    """Store a message, and wait for the confirmation.

    Raises `MessageTooLarge`, mostly before anything is sent, `PublishRefused`, `NotConfirmed`, `BrokerUnavailable` and
    `BrokerClosed`.
    """
    subject = outgoing.subject
    headers = outgoing.wire_headers(connection.max_payload)
    await connection.until_connected()
    began = time.monotonic()
    try:
        answer = await connection.replies.request(subject, outgoing.data, headers)
    except NoRespondersError as error:
        raise PublishRefused(
            f"no stream takes the subject {subject}; see jobs/stream.json and `keda-jobs streams apply`"
        ) from error
    except NoRight as error:
        raise PublishRefused(f"NATS refuses {subject}: {connection.reason(error)}") from error
    except TimeoutError as error:
        await connection.reconnect(since=began)
        raise NotConfirmed(f"NATS did not confirm {subject}: {connection.reason(error)}") from error
    except AnswerLost as error:
        raise NotConfirmed(f"NATS did not confirm {subject}: the connection was lost") from error
    except NatsError as error:
        raise BrokerUnavailable(f"{subject} was not published: {connection.reason(error)}") from error
    return _confirmation(outgoing, answer.data)


def _confirmation(outgoing: Outgoing, answer: bytes) -> Confirmation:
    try:
        fields = json.loads(answer)
        if "error" in fields:
            raise _refusal(outgoing, fields["error"])
        return Confirmation(fields["stream"], fields["seq"], not fields.get("duplicate", False))
    except (ValueError, KeyError, TypeError) as error:
        # Whoever may subscribe to the subject may answer too.
        raise NotConfirmed(f"{outgoing.subject} was answered by something else than a stream") from error


def _refusal(outgoing: Outgoing, error: Mapping[str, Any]) -> MessageTooLarge | PublishRefused:
    subject, code = outgoing.subject, error.get("err_code")
    if code == _MESSAGE_TOO_LARGE:
        return MessageTooLarge(f"{len(outgoing.data)} bytes for {subject}; the stream takes less")
    if code == _OTHER_STREAM:
        return PublishRefused(f"the subject {subject} belongs to another stream than {stream_of(subject)}")
    return PublishRefused(f"NATS refuses {subject}: {error.get('description')}")


async def publish_with_retry(connection: NatsConnection, outgoing: Outgoing) -> None:
    """Store a message in our stream for its subject and in no other. Repeat it once when it is not confirmed.

    The server stores it once, because both have the same `msg_id`. If another message had that before the first try, it
    is stored under a new one. Raises as `publish`.
    """
    headers = {**outgoing.headers, "Nats-Expected-Stream": stream_of(outgoing.subject)}
    outgoing = replace(outgoing, headers=headers)
    try:
        confirmation = await publish(connection, outgoing)
    except NotConfirmed:
        await publish(connection, outgoing)
    else:
        if not confirmation.is_new and not await _is_stored(connection, outgoing, confirmation.sequence):
            log.warning("another message has the id %s; publishing under a new one", outgoing.msg_id)
            await publish(connection, replace(outgoing, msg_id=f"{outgoing.msg_id}:{uuid.uuid4()}"))


async def _is_stored(connection: NatsConnection, outgoing: Outgoing, sequence: int) -> bool:
    """Return whether message `sequence` is this one, published by another operator or by an earlier run.

    Publishers reach the events stream only, and a message may have left the other ones.
    """
    if stream_of(outgoing.subject) != STREAM:
        return True
    stored = await read_message(connection, sequence)
    return stored is not None and (stored.subject, stored.data) == (outgoing.subject, outgoing.data)
