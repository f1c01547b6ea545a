"""The baseline: FastStream's pull subscriber with an empty handler. Usage: faststream_app.py NATS_URL BATCH"""

import asyncio
import sys

from faststream import FastStream
from faststream.nats import JStream, NatsBroker, PullSub
from pydantic import BaseModel

broker = NatsBroker(sys.argv[1], logger=None)
app = FastStream(broker, logger=None)


class Ping(BaseModel):
    n: int


@broker.subscriber(
    "ping",
    durable="noop-job-consumer",
    stream=JStream("keda-jobs-events", declare=False),
    pull_sub=PullSub(batch_size=int(sys.argv[2]), timeout=2.0),
)
async def ping(event: Ping) -> None:
    """Do nothing."""


asyncio.run(app.run())
