"""Publishes that are confirmed: every one waits for its PubAck, and a refusal says what to do."""

from __future__ import annotations

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import APIError, NoStreamResponseError

from keda_jobs.domain.broker import Outgoing, TooLarge
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import why
from keda_jobs.jetstream.connection import CONFIRM_S

_OTHER_STREAM = 10060
# Enough to fill a link; with messages of 1 MB at most it also bounds the memory.
_WINDOW = 128


class PublishRefused(BrokerUnavailable):
    """The message was not stored, and the next one to this subject would not be either."""


async def publish(client: Client, outgoing: Outgoing) -> None:
    """Store a message in the stream and wait for the acknowledgement.

    An unanswered one is sent once more under the same `msg_id`, which the server stores once. Raises
    `TooLarge`, `PublishRefused`, and `BrokerUnavailable` when there was no answer at all.
    """
    try:
        await _try(client, outgoing)
    except TimeoutError:
        try:
            await _try(client, outgoing)
        except TimeoutError as error:
            raise BrokerUnavailable(f"NATS did not confirm {outgoing.subject}: {why(client, error)}") from error


async def _try(client: Client, outgoing: Outgoing) -> None:
    headers = {**outgoing.headers, "Nats-Msg-Id": outgoing.msg_id}
    jetstream = client.jetstream(timeout=CONFIRM_S)
    try:
        await jetstream.publish(outgoing.subject, outgoing.data, stream=STREAM, headers=headers)
    except TimeoutError:
        raise
    except MaxPayloadError as error:
        raise TooLarge(f"{len(outgoing.data)} bytes; the server takes {client.max_payload} with headers") from error
    except NoStreamResponseError as error:
        raise PublishRefused(
            f"no stream takes the subject {outgoing.subject}; see jobs/stream.json and `keda-jobs streams apply`"
        ) from error
    except APIError as error:
        if error.err_code == _OTHER_STREAM:
            raise PublishRefused(f"the subject {outgoing.subject} belongs to another stream than {STREAM}") from error
        raise PublishRefused(f"NATS refuses {outgoing.subject}: {error.description}") from error
    except NatsError as error:
        raise BrokerUnavailable(f"the connection to NATS was lost: {why(client, error)}") from error
