"""A store that is away or refuses us is the platform's trouble: the jobs wait, and no delivery is used up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from stack import JobProcess, S3Server, until
from stack.servers import ACCESS_KEY

from .origin import Origin
from .processes import Declare, StartJob, reported
from .stream_view import StreamView
from .traffic import Traffic
from .waiting import throughout

pytestmark = pytest.mark.slow

ACK_WAIT_S = 6


@pytest.fixture
def outage_s(full_size: bool) -> float:
    """Return how long the store is away: longer than the ack wait."""
    return 20.0 if full_size else ACK_WAIT_S + 1.0


class OtherSecret(S3Server):
    """The same server with another secret key: as if the keys of the jobs had been revoked."""

    def process_environment(self) -> dict[str, str]:
        return {**super().process_environment(), "RCLONE_AUTH_KEY": f'"{ACCESS_KEY},another-secret-key"'}


async def healthy(job: JobProcess) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{job.http_url}/healthz") as response:
        return response.status == 200


async def each_message_was_delivered_once(stream: StreamView, *jobs: JobProcess) -> None:
    for job in jobs:
        deliveries = await stream.deliveries(job.name)
        said = await reported(job, deliveries)
        assert len(said) == deliveries
        assert {line["attempt"] for line in said} == {1}
        assert {line["outcome"] for line in said} <= {"acked", "dead_lettered"}
    assert await stream.count("retry.>") == 0


async def test_nothing_is_lost_and_no_delivery_used_while_the_store_is_away(
    declare: Declare,
    start: StartJob,
    origin: Origin,
    stream: StreamView,
    traffic: Traffic,
    s3_server: S3Server,
    full_size: bool,
    outage_s: float,
) -> None:
    await declare(ack_wait_s=ACK_WAIT_S)
    origin.latency_s = 0.1
    await traffic.publish(500 if full_size else 200)
    jobs = [await start(job, ACK_WAIT_S=str(ACK_WAIT_S)) for job in ("image-resize", "image-download")]

    async def work_goes_on() -> bool:
        return traffic.originals() >= 100

    async def the_jobs_are_well_and_keep_what_they_have() -> bool:
        infos = [await stream.consumer(job.name) for job in jobs]
        return all([await healthy(job) for job in jobs]) and all((info.num_ack_pending or 0) <= 8 for info in infos)

    await until(work_goes_on)
    await asyncio.to_thread(s3_server.stop)
    await throughout(outage_s, the_jobs_are_well_and_keep_what_they_have)
    await asyncio.to_thread(s3_server.start)
    await until(traffic.settled)
    await traffic.balances()
    await each_message_was_delivered_once(stream, *jobs)


async def test_refused_credentials_cost_no_delivery_and_are_said(
    declare: Declare, start: StartJob, stream: StreamView, traffic: Traffic, s3_server: S3Server, tmp_path: Path
) -> None:
    await declare(ack_wait_s=ACK_WAIT_S)
    jobs = [await start(job, ACK_WAIT_S=str(ACK_WAIT_S)) for job in ("image-resize", "image-download")]
    await asyncio.to_thread(s3_server.stop)
    other = OtherSecret(tmp_path / "stack", s3_server.port)
    await asyncio.to_thread(other.start)
    await traffic.publish(20)

    async def it_is_said() -> bool:
        return "check R2_ACCESS_KEY_ID and R2_SECRET_ACCESS_KEY" in jobs[1].log.read_text()

    await until(it_is_said)
    await asyncio.to_thread(other.stop)
    await asyncio.to_thread(s3_server.start)
    await until(traffic.settled)
    await traffic.balances()
    await each_message_was_delivered_once(stream, *jobs)
