"""Workers and servers that die with work in flight: every picture ends in the store, every bad one as a dead letter."""

from __future__ import annotations

import asyncio
import signal

import pytest

from stack import NatsServer, until

from .origin import Origin
from .processes import Declare, StartJob, reported
from .traffic import Traffic
from .waiting import came_true

pytestmark = pytest.mark.slow

# Eight at once make 80 a second, so that the faults meet a job that is busy.
LATENCY_S = 0.1


@pytest.fixture
def pictures(full_size: bool) -> int:
    """Return how many pictures the jobs work on."""
    return 500 if full_size else 200


async def test_nothing_is_lost_while_image_download_is_killed_every_second(
    declare: Declare, start: StartJob, origin: Origin, traffic: Traffic, pictures: int
) -> None:
    await declare(ack_wait_s=2)
    origin.latency_s = LATENCY_S
    await traffic.publish(pictures)
    await start("image-resize", ACK_WAIT_S="2")
    download = await start("image-download", ACK_WAIT_S="2", RETRY_MAX_DELIVERIES="1000")
    kills = 0
    while not await came_true(traffic.settled, within_s=1):
        await asyncio.to_thread(download.kill)
        kills += 1
        await asyncio.to_thread(download.start)
    assert kills >= pictures // 100
    await traffic.balances()


async def test_nothing_is_lost_while_the_nats_server_is_killed(
    declare: Declare, start: StartJob, origin: Origin, traffic: Traffic, nats_server: NatsServer, pictures: int
) -> None:
    await declare(ack_wait_s=2)
    origin.latency_s = LATENCY_S
    await traffic.publish(pictures)
    for job in ("image-resize", "image-download"):
        await start(job, ACK_WAIT_S="2")
    for originals in range(pictures // 5, pictures, 100):

        async def work_went_on(originals: int = originals) -> bool:
            return traffic.originals() >= originals

        await until(work_went_on)
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)
    await until(traffic.settled)
    await traffic.balances()


async def test_a_worker_that_was_frozen_longer_than_its_ack_wait_loses_nothing(
    declare: Declare, start: StartJob, origin: Origin, traffic: Traffic
) -> None:
    await declare(ack_wait_s=2)
    await start("image-resize")
    frozen = await start("image-download", ACK_WAIT_S="2")
    origin.hold()
    await traffic.publish(20)

    async def its_hands_are_full() -> bool:
        return len(origin.asked) == 8

    await until(its_hands_are_full)
    frozen.signal(signal.SIGSTOP)
    origin.release()
    await start("image-download", ACK_WAIT_S="2")
    await until(traffic.settled)
    frozen.signal(signal.SIGCONT)
    assert {line["outcome"] for line in await reported(frozen, 8)} <= {"acked", "dead_lettered"}
    await until(traffic.settled)
    await traffic.balances()
