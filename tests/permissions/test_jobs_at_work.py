"""Jobs can do all their work as their NATS users."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from aiohttp import web
from PIL import Image

from keda_jobs.domain.subjects import RETRY_STREAM, STREAM, STREAMS, stream_of
from stack import JobProcess, NatsServer, S3Server, until

from .conftest import Login
from .secrets_tool import by_name, content

JOBS = ("image-download", "image-resize")


def png() -> bytes:
    file = BytesIO()
    Image.new("RGB", (640, 480), "red").save(file, "PNG")
    return file.getvalue()


@asynccontextmanager
async def picture_server() -> AsyncIterator[str]:
    """Serve `/flaky`, 503 at first and then a picture, and 404 for all other paths. Yield the address."""
    asked: list[str] = []

    async def flaky(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=503) if len(asked) == 1 else web.Response(body=png())

    app = web.Application()
    app.router.add_get("/flaky", flaky)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def jobs_at_work(
    server: NatsServer, s3_server: S3Server, made: dict[str, Any], folder: Path, allowed: str
) -> AsyncIterator[list[JobProcess]]:
    """Run both picture jobs, each as its own user."""
    started = []
    try:
        for job in JOBS:
            environment = {
                **server.environment(),
                **s3_server.environment(),
                **content(by_name(made)[f"nats-{job}"]),
                "DOWNLOAD_ALLOW_ADDRESSES": allowed,
                # A missing picture has three deliveries, thus three of these to come.
                "RETRY_STEP_S": "2",
            }
            started.append(JobProcess(job, environment, folder / f"{job}.log"))
            await asyncio.to_thread(started[-1].start)
        yield started
    finally:
        for process in started:
            process.kill()


async def test_jobs_can_do_all_their_work_as_their_users(
    server: NatsServer, s3_server: S3Server, login: Login, made: dict[str, Any], tmp_path: Path
) -> None:
    """Cover events, outputs, retries, dead letters and acks of both jobs, with events from the publisher."""
    late = s3_server.bucket_folder / "images" / "late.png"
    thumbnails = s3_server.bucket_folder / "images_resized"
    async with (
        picture_server() as pictures,
        login("admin") as admin,
        login("publisher") as publisher,
        jobs_at_work(server, s3_server, made, tmp_path, pictures) as jobs,
    ):
        jetstream = publisher.jetstream()
        for path in ("flaky", "gone"):
            await jetstream.publish("image-download", json.dumps({"url": f"http://{pictures}/{path}"}).encode())
        for key in ("images/late.png", "../not-ours"):
            await jetstream.publish("image-downloaded", json.dumps({"key": key}).encode())

        async def counts() -> dict[str, int]:
            infos = [await admin.jetstream().stream_info(name, subjects_filter=">") for name in STREAMS]
            return {subject: count for info in infos for subject, count in (info.state.subjects or {}).items()}

        async def late_one_waits() -> bool:
            return any(subject.startswith("retry.wait.image-resize.") for subject in await counts())

        await until(late_one_waits)
        late.parent.mkdir(exist_ok=True)
        late.write_bytes(png())

        async def all_settled() -> bool:
            before = await counts()
            # Read after those that wait: a retry that came due meanwhile is in the lag.
            infos = [await admin.jetstream().consumer_info(STREAM, f"{job}-consumer") for job in JOBS]
            lag = sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in infos)
            waiting = [subject for subject in before if stream_of(subject) == RETRY_STREAM]
            return not waiting and lag == 0 and before.get("dead-letter") == 2

        await until(all_settled)
        found = await counts()
        logged = [json.loads(line) for job in jobs for line in job.log.read_text().splitlines()]

    assert {subject for subject in found if subject.startswith("retry.due.")} == {f"retry.due.{job}" for job in JOBS}
    assert found["image-downloaded"] == 3
    assert len(list(thumbnails.iterdir())) == 1, "the late picture is the same as the flaky one"
    assert not [line["message"] for line in logged if "violation" in line["message"].lower()]
