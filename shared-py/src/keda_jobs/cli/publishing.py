"""Publishes that are confirmed: every one waits for its PubAck, and a refusal says what to do."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError
from nats.js.errors import APIError, NoStreamResponseError

from keda_jobs.broker import Outgoing, TooLarge
from keda_jobs.cli.connection import interruptible
from keda_jobs.cli.terminal import Meter, meter
from keda_jobs.errors import BrokerUnavailable, JobError
from keda_jobs.jetstream import CONFIRM_S, STREAM
from keda_jobs.jetstream_api import why
from keda_jobs.spans import Tracer

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


class Pipeline:
    """Publishes events to one subject, many at once; `confirmed` counts those that are stored."""

    def __init__(self, subject: str, tracer: Tracer) -> None:
        self.subject = subject
        self.confirmed = 0
        self.interrupted = False
        self._tracer = tracer
        self._slots = asyncio.Semaphore(_WINDOW)
        self._error: JobError | None = None

    async def run(self, client: Client, events: Iterable[bytes], total: int) -> None:
        """Publish `events` until the end, a signal, or the first refusal, which is raised when all are settled."""
        with interruptible() as stop, meter("pub", total) as progress:
            async with asyncio.TaskGroup() as group:
                for event in events:
                    await self._slots.acquire()
                    if stop.is_set() or self._error is not None:
                        break
                    group.create_task(self._one(client, event, progress))
            self.interrupted = stop.is_set() and self.confirmed < total
        if self._error is not None:
            raise self._error

    async def _one(self, client: Client, event: bytes, progress: Meter) -> None:
        try:
            with self._tracer.publish(self.subject) as span:
                await publish(client, Outgoing(self.subject, event, f"pub:{uuid.uuid4()}", span.on({})))
            self.confirmed += 1
            progress.at(self.confirmed)
        except JobError as error:
            self._error = error
        finally:
            self._slots.release()
