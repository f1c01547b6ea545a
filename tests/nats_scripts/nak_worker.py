"""Worker as the guides to NATS and KEDA write it: it returns an event that fails with a delayed nak.

python nak_worker.py make NAME            its stream and its consumer, both of that name
python nak_worker.py remove NAME
python nak_worker.py publish NAME COUNT   the first one fails at its first delivery
python nak_worker.py work NAME DELAY_S    until SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from nats_script import run

# As image-download with pictures that take a second.
_CONCURRENCY = 8
_WORK_S = 1.0


async def make(client: Client, name: str) -> None:
    """Create the stream and the consumer."""
    await remove(client, name)
    manager = client.jsm()
    await manager.add_stream(name=name, subjects=[name])
    config = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, ack_wait=60)
    await manager.add_consumer(name, config)


async def remove(client: Client, name: str) -> None:
    """Delete the stream if it exists."""
    with suppress(NotFoundError):
        await client.jsm().delete_stream(name)


async def publish(client: Client, name: str, count: str) -> None:
    """Publish events, of which the first fails at first."""
    for number in range(int(count)):
        await client.jetstream().publish(name, json.dumps({"fails": number == 0}).encode())


async def work(client: Client, name: str, delay_s: str) -> None:
    """Handle messages until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    subscription = await client.jetstream().pull_subscribe_bind(name, name)
    while not stopped.is_set():
        try:
            messages = await subscription.fetch(_CONCURRENCY, timeout=2)
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


if __name__ == "__main__":
    run(make, remove, publish, work)
