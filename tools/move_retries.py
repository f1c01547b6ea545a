"""Move waiting retries out of the events stream, where former versions kept them. See docs/streams.md.

python tools/move_retries.py     # the server of NATS_URL, with NATS_USER and NATS_PASSWORD
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

from keda_jobs.domain.broker import MessageTooLarge, Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.subjects import RETRY_WAIT, STREAM, fire_subject
from keda_jobs.errors import JobError
from keda_jobs.jetstream.api import request
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.reader import StoredMessage, read_all
from keda_jobs.settings import NatsSettings, load_settings


def main() -> int:
    """Move all, and say how many. Return the exit code."""
    try:
        moved, left = asyncio.run(_run(load_settings(NatsSettings)))
    except JobError as error:
        print(f"move_retries: {error}", file=sys.stderr)
        return 1
    print(f"{moved} retries moved")
    if left:
        print(f"move_retries: messages {left} are no retries or too large, and stay in {STREAM}", file=sys.stderr)
    return 1 if left else 0


async def _run(settings: NatsSettings) -> tuple[int, list[int]]:
    async with connect(settings, name="move-retries", wait=False) as connection:
        return await move_retries(connection)


async def move_retries(connection: NatsConnection) -> tuple[int, list[int]]:
    """Store each retry in the retries stream, then delete it here. To repeat it is safe.

    Return how many, and the sequences of messages that cannot be moved. Raises `JobError`.
    """
    moved, left = 0, []
    async with aclosing(read_all(connection, f"{RETRY_WAIT}.>")) as messages:
        async for stored in messages:
            try:
                await publish(connection, _schedule(stored))
            except (LookupError, MessageTooLarge):
                left.append(stored.sequence)
                continue
            await request(connection, f"STREAM.MSG.DELETE.{STREAM}", {"seq": stored.sequence, "no_erase": True})
            moved += 1
    return moved, left


def _schedule(stored: StoredMessage) -> Outgoing:
    """Build the same schedule for the retries stream. One whose time is past is due at once."""
    kept = {name: value for name, value in stored.headers.items() if not name.lower().startswith("nats-")}
    job = stored.subject.split(".")[2]
    schedule = {Header.SCHEDULE: stored.headers[Header.SCHEDULE], Header.SCHEDULE_TARGET: fire_subject(job)}
    return Outgoing(
        stored.subject,
        stored.data,
        Identity.of("moved", stored.sequence, stored.stored_at).msg_id(stored.subject),
        kept | schedule,
    )


if __name__ == "__main__":
    sys.exit(main())
