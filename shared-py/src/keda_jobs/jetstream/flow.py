"""Reads what the stream holds and changes nothing: a flow of messages by subject, or one by its number."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.client import JetStreamContext
from nats.js.errors import NotFoundError, ServiceUnavailableError

from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable, JobError
from keda_jobs.jetstream.api import ask, stream_info, why
from keda_jobs.jetstream.connection import CONFIRM_S
from keda_jobs.jetstream.reader import Stored

# A message may be as large as the server's max_payload (1 MB by default): this bounds the memory.
_BATCH = 32
_BATCH_OF_HEADERS = 500
_IDLE_NS = 300 * 10**9


async def messages_by_subject(client: Client, pattern: str) -> dict[str, int]:
    """How many messages stand under each subject that `pattern` takes; the server answers in pages."""
    found: dict[str, int] = {}
    while True:
        page = await ask(client, f"STREAM.INFO.{STREAM}", {"subjects_filter": pattern, "offset": len(found)})
        subjects: dict[str, int] = page["state"].get("subjects") or {}
        found |= subjects
        if not subjects or len(found) >= page.get("total", 0):
            return found


async def message_at(client: Client, sequence: int) -> Stored | None:
    """The message with that number, if it is still there."""
    try:
        raw = await client.jetstream(timeout=CONFIRM_S).get_msg(STREAM, seq=sequence)
    except NotFoundError:
        return None
    except NatsError as error:
        raise BrokerUnavailable(f"message {sequence} cannot be read: {why(client, error)}") from error
    if raw.subject is None or raw.time is None:
        raise BrokerUnavailable(f"message {sequence} came without subject or time")
    return Stored(raw.subject, sequence, raw.time, raw.headers or {}, raw.data or b"")


async def flow(client: Client, subject: str, *, headers_only: bool = False) -> AsyncGenerator[Stored]:
    """The messages under `subject` that are there now, oldest first; those that arrive meanwhile are left out."""
    last = int((await stream_info(client))["state"]["last_seq"])
    position, stuck_at = 0, -1
    while True:
        async with _reader(client, subject, position + 1, headers_only) as (pull, waiting):
            try:
                pending = waiting
                while pending:
                    batch = min(pending, _BATCH_OF_HEADERS if headers_only else _BATCH)
                    for msg in await pull.fetch(batch, timeout=CONFIRM_S):
                        stored = _stored(msg)
                        if stored.sequence > last:
                            return
                        position, pending = stored.sequence, msg.metadata.num_pending
                        yield stored
                return
            except (TimeoutError, ServiceUnavailableError) as error:
                # Either the server dropped the idle reader or somebody deleted what was pending: look again, once.
                if stuck_at == position:
                    raise BrokerUnavailable(f"no more messages of {subject} came: {why(client, error)}") from error
                stuck_at = position


@asynccontextmanager
async def _reader(
    client: Client, subject: str, first: int, headers_only: bool
) -> AsyncIterator[tuple[JetStreamContext.PullSubscription, int]]:
    """An ephemeral consumer from sequence `first` on, and how many messages wait there."""
    config = {
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": first,
        "filter_subject": subject,
        "ack_policy": "none",
        "headers_only": headers_only,
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": _IDLE_NS,
    }
    made = await ask(client, f"CONSUMER.CREATE.{STREAM}", {"stream_name": STREAM, "config": config})
    pull = await client.jetstream().pull_subscribe_bind(consumer=made["name"], stream=STREAM)
    try:
        yield pull, int(made["num_pending"])
    finally:
        with suppress(JobError, NatsError):
            await pull.unsubscribe()
            await ask(client, f"CONSUMER.DELETE.{STREAM}.{made['name']}")


def _stored(msg: Msg) -> Stored:
    metadata = msg.metadata
    return Stored(msg.subject, metadata.sequence.stream, metadata.timestamp, msg.headers or {}, msg.data)
