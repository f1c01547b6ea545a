"""Publishing the pictures and following them to their end."""

from __future__ import annotations

import asyncio
import json
import time

from nats.aio.client import Client
from nats.errors import TimeoutError as NothingCame
from nats.js.client import JetStreamContext

from demo.follow import Board
from demo.programme import Item
from demo.show import progress
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.publish import publish
from keda_jobs.settings import NatsSettings
from stack import EventStack

_LOOK_EVERY_S = 0.1


def run(stack: EventStack, board: Board, deadline_s: float) -> None:
    """Publish the board's pictures and follow them until all are settled, or for `deadline_s`.

    Raises `StackError` when a server or a job dies meanwhile, `BrokerUnavailable` when NATS refuses an event.
    """
    asyncio.run(_run(stack, board, time.monotonic() + deadline_s))


async def _run(stack: EventStack, board: Board, give_up: float) -> None:
    # Not from the environment, which may lead to another server.
    settings = NatsSettings.model_construct(nats_url=stack.nats.url)
    async with connect(settings, name="keda-jobs-demo", wait=False) as client:
        stream = await client.jetstream().subscribe(">", stream=STREAM, ordered_consumer=True)
        with progress(board) as show:
            for number, course in enumerate(board.courses):
                await _publish(client, course.item, number)
            while not board.settled and time.monotonic() < give_up:
                await _take(stream, board)
                board.look()
                show()
                for process in stack.processes:
                    process.raise_if_exited()


async def _publish(client: Client, item: Item, number: int) -> None:
    event = json.dumps({"url": item.url}).encode()
    await publish(client, Outgoing("image-download", event, f"demo:{number}"))


async def _take(stream: JetStreamContext.PushSubscription, board: Board) -> None:
    """One message of the stream, if one comes within a moment."""
    try:
        message = await stream.next_msg(timeout=_LOOK_EVERY_S)
    except NothingCame:
        return
    stored = message.metadata
    board.take(message.subject, message.data, message.headers or {}, stored.sequence.stream, stored.timestamp)
