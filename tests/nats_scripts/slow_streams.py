"""Consumers and messages of the workers of slow_worker.py. Their messages come as retries do, so no stream changes.

python slow_streams.py make JOB…              their consumers
python slow_streams.py publish SECONDS COUNT JOB…
python slow_streams.py deliveries JOB         as JSON: all so far, and what is not settled
python slow_streams.py remove JOB…            their consumers and messages
"""

from __future__ import annotations

import json
from contextlib import suppress

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import NotFoundError
from nats_script import run

STREAM = "keda-jobs-events"


async def make(client: Client, *jobs: str) -> None:
    """Create a consumer for each job."""
    await remove(client, *jobs)
    for job in jobs:
        config = ConsumerConfig(
            durable_name=f"{job}-consumer",
            filter_subject=f"retry.due.{job}",
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=60,
        )
        await client.jsm().add_consumer(STREAM, config)


async def remove(client: Client, *jobs: str) -> None:
    """Delete the consumers and the messages of the jobs."""
    for job in jobs:
        with suppress(NotFoundError):
            await client.jsm().delete_consumer(STREAM, f"{job}-consumer")
        await client.jsm().purge_stream(STREAM, subject=f"retry.due.{job}")


async def publish(client: Client, seconds: str, count: str, *jobs: str) -> None:
    """Publish the same number of messages to each job."""
    for _ in range(int(count)):
        for job in jobs:
            data = json.dumps({"seconds": int(seconds)}).encode()
            await client.jetstream().publish(f"retry.fire.{job}", data, headers={"Keda-Jobs-Subject": "slow"})


async def deliveries(client: Client, job: str) -> None:
    """Print how often a message of the job was delivered, and how many are not settled."""
    info = await client.jsm().consumer_info(STREAM, f"{job}-consumer")
    assert info.delivered is not None
    left = (info.num_pending or 0) + (info.num_ack_pending or 0)
    print(json.dumps({"delivered": info.delivered.consumer_seq, "left": left}))


if __name__ == "__main__":
    run(make, publish, deliveries, remove)
