"""A worker as the guides to NATS and KEDA write it: an event that fails is given back by a nak with a delay.

    python nak_worker.py make NAME            its stream and its consumer, both of that name
    python nak_worker.py remove NAME
    python nak_worker.py publish NAME COUNT   the first one fails at its first delivery
    python nak_worker.py work NAME DELAY_S    until SIGTERM

NATS_URL, NATS_USER and NATS_PASSWORD say where.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError

# As many at a time, and as long each, as image-download with pictures that take a second.
_SLOTS = 8
_WORK_S = 1.0


async def make(client: Client, name: str) -> None:
    """The stream and the consumer, new."""
    await remove(client, name)
    manager = client.jsm()
    await manager.add_stream(name=name, subjects=[name])
    config = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    await manager.add_consumer(name, config)


async def remove(client: Client, name: str) -> None:
    """Delete the stream with all it holds, if it is there."""
    with suppress(NotFoundError):
        await client.jsm().delete_stream(name)


async def publish(client: Client, name: str, count: str) -> None:
    """So many events."""
    for number in range(int(count)):
        await client.jetstream().publish(name, json.dumps({"fails": number == 0}).encode())


async def work(client: Client, name: str, delay_s: str) -> None:
    """Handle what comes, until SIGTERM."""
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    subscription = await client.jetstream().pull_subscribe_bind(name, name)
    while not over.is_set():
        try:
            messages = await subscription.fetch(_SLOTS, timeout=2)
        except TimeoutError:
            continue
        await asyncio.gather(*(_handle(message, float(delay_s)) for message in messages))


async def _handle(message: Msg, delay_s: float) -> None:
    await asyncio.sleep(_WORK_S)
    if json.loads(message.data)["fails"] and message.metadata.num_delivered == 1:
        print(f"due {(datetime.now(UTC) + timedelta(seconds=delay_s)).isoformat()}", flush=True)
        await message.nak(delay=delay_s)
    else:
        await message.ack_sync()


async def _main(command: str, *arguments: str) -> None:
    user, password = os.environ["NATS_USER"], os.environ["NATS_PASSWORD"]
    client = await nats.connect(os.environ["NATS_URL"], user=user, password=password)
    try:
        match command:
            case "make":
                await make(client, *arguments)
            case "remove":
                await remove(client, *arguments)
            case "publish":
                await publish(client, *arguments)
            case _:
                await work(client, *arguments)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
