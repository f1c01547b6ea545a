"""The disk of NATS is lost while jobs work. A backup is restored on an empty one and worked off: nothing is missing."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from typing_extensions import override

from keda_jobs.backup.places import Folder
from keda_jobs.backup.restore import check_backup, plan_restore, restore_backup
from keda_jobs.backup.take import take_backup
from keda_jobs.domain.subjects import RETRY_STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until

from .origin import Answer, Origin
from .processes import Declare, StartJob
from .stream_view import StreamView
from .traffic import Traffic

pytestmark = pytest.mark.slow

LATENCY_S = 0.1


@pytest.fixture
def pictures(full_size: bool) -> int:
    """Return how many pictures the jobs work on."""
    return 500 if full_size else 150


async def test_nothing_is_lost_with_the_disk_of_nats(
    declare: Declare,
    start: StartJob,
    origin: Origin,
    traffic: Traffic,
    stream: StreamView,
    nats_server: NatsServer,
    pictures: int,
    tmp_path: Path,
) -> None:
    await declare(ack_wait_s=2)
    origin.latency_s = LATENCY_S
    await traffic.publish(pictures)
    answers = dict(origin.answers)
    # These go to the other stream and back.
    origin.answers.update(dict.fromkeys([*answers][::4], Answer(status=503)))
    for job in ("image-resize", "image-download"):
        await start(job, ACK_WAIT_S="2", RETRY_STEP_S="8", RETRY_MAX_DELIVERIES="1000")
    await until(lambda: traffic.originals() >= pictures // 4)

    place = Busy(tmp_path / "backups", traffic, pictures // 4)
    async with connect(NatsSettings(nats_url=nats_server.url), name="backup", wait=True) as connection:
        manifest = await take_backup(connection, place, ignore)
        await asyncio.to_thread(nats_server.kill)
        shutil.rmtree(tmp_path / "stack" / "nats")
        await asyncio.to_thread(nats_server.start)
        await connection.until_connected()
        plan = await plan_restore(connection, await check_backup(place, manifest.name, ignore))
        await restore_backup(connection, place, plan, ignore)

    # The backup was taken while they worked.
    assert manifest.rewind
    origin.answers.update(answers)

    async def settled() -> bool:
        # The restored stream is taken from only after some seconds.
        return not await stream.count("retry.fire.*") and await traffic.settled()

    await until(settled)
    await traffic.nothing_is_lost()


class Busy(Folder):
    """Folder that stores the retries only when the jobs have done more work."""

    def __init__(self, path: Path, traffic: Traffic, pictures: int) -> None:
        super().__init__(path)
        self._traffic = traffic
        self._pictures = pictures

    @override
    async def put(self, name: str, data: bytes | bytearray) -> None:
        if RETRY_STREAM in name:
            enough = self._traffic.originals() + self._pictures
            await until(lambda: self._traffic.originals() >= enough)
        await super().put(name, data)


def ignore(_moved: int) -> None:
    """Show no progress."""
