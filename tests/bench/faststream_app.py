"""Baseline: FastStream's pull subscriber with an empty handler.

Usage: faststream_app.py NATS_URL [BATCH]

Without BATCH it is `PullSub()` with FastStream's defaults. Its log has a line for each message, like the no-op job's.
"""

import asyncio
import sys

from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel

url, *batch = sys.argv[1:]
broker = NatsBroker(url)
app = FastStream(broker)


class Ping(BaseModel):
    n: int


@broker.subscriber(
    "ping",
    durable="noop-job-consumer",
    stream=JStream("keda-jobs-events", declare=False),
    pull_sub=PullSub(batch_size=int(batch[0])) if batch else PullSub(),
)
async def ping(event: Ping) -> None:
    """Do nothing."""


asyncio.run(app.run())
