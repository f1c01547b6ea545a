"""Baseline: nats-py's fetch and ack_sync with nothing around them.

Usage: raw_loop.py NATS_URL BATCH
"""

import asyncio
import sys

import nats
from nats.errors import TimeoutError as NatsTimeoutError


async def consume(url: str, batch: int) -> None:
    client = await nats.connect(url)
    subscription = await client.jetstream().pull_subscribe_bind(consumer="noop-job-consumer", stream="keda-jobs-events")
    while True:
        try:
            messages = await subscription.fetch(batch, timeout=2)
        except NatsTimeoutError:
            continue
        await asyncio.gather(*(message.ack_sync() for message in messages))


asyncio.run(consume(sys.argv[1], int(sys.argv[2])))
