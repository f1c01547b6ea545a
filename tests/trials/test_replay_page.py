"""docs/replay.md as it stands: two versions of image-resize, one deployed and one to try, on real servers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js.client import JetStreamContext
from PIL import Image

from stack import JobProcess, NatsServer, S3Server, shell_status, until
from stack.jobs import ROOT, isolated_environment

PAGE = (ROOT / "docs" / "replay.md").read_text()
STREAM = "keda-jobs-events"
# The middle one is no larger than either version's thumbnails.
SIZES = {"a": (900, 600), "b": (150, 100), "c": (320, 480)}


@dataclass(frozen=True)
class Done:
    """End of a command."""

    code: int
    stdout: str
    stderr: str


class Place:
    """Servers with a deployed image-resize that has done all there is, and a shell for the operator."""

    def __init__(self, environment: dict[str, str], bucket: Path, url: str) -> None:
        self.environment = isolated_environment(environment)
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.bucket = bucket
        self._url = url

    def type(self, line: str, **environment: str) -> Done:
        process = self.start(line, **environment)
        stdout, stderr = process.communicate(timeout=300)
        return Done(shell_status(process.returncode), stdout, stderr)

    def start(self, line: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", line],
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def objects(self, folder: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.bucket / folder).glob("*")) if path.is_file()}

    async def jetstream(self, work: Callable[[JetStreamContext], Any]) -> Any:
        client = await nats.connect(self._url)
        try:
            return await work(client.jetstream())
        finally:
            await client.close()

    async def seen_from_nats(self) -> dict[str, object]:
        """Return what a trial must not change: what is stored, and how far the job is."""

        async def look(jetstream: JetStreamContext) -> dict[str, object]:
            infos = [await jetstream.stream_info(name) for name in (STREAM, "keda-jobs-retries")]
            consumers = await jetstream.consumers_info(STREAM)
            return {
                "streams": [(info.state.last_seq, info.state.messages) for info in infos],
                "consumers": {one.name: (one.delivered, one.ack_floor, one.num_pending) for one in consumers},
            }

        found = await self.jetstream(look)
        assert isinstance(found, dict)
        return found

    async def publish(self, *keys: str) -> None:
        async def put(jetstream: JetStreamContext) -> None:
            for key in keys:
                await jetstream.publish("image-downloaded", json.dumps({"key": key}).encode())

        await self.jetstream(put)


@pytest.fixture
async def place(
    nats_server: NatsServer,
    s3_server: S3Server,
    stack_environment: dict[str, str],
    declare: Callable[..., Any],
    start_job: Callable[..., JobProcess],
) -> Place:
    """Let the deployed version make three thumbnails and one dead letter."""
    await declare()
    place = Place(stack_environment, s3_server.bucket_folder, nats_server.url)
    (place.bucket / "images").mkdir()
    for name, size in SIZES.items():
        Image.effect_mandelbrot(size, (-2.5, -1.2, 1.5, 1.2), 40).save(place.bucket / "images" / f"{name}.png")
    await place.publish(*(f"images/{name}.png" for name in SIZES), "images/none/of/ours")
    deployed = await asyncio.to_thread(start_job, "image-resize")

    async def is_done() -> bool:
        async def acked(jetstream: JetStreamContext) -> bool:
            info = await jetstream.consumer_info(STREAM, "image-resize-consumer")
            return bool(info.num_pending == info.num_ack_pending == 0)

        return bool(await place.jetstream(acked))

    await until(is_done)
    await asyncio.to_thread(deployed.kill)
    assert len(place.objects("images_resized")) == len(SIZES)
    return place


def command(start: str) -> str:
    """Return the command of the page that begins with `start`, without its comment."""
    match = re.search(rf"^{re.escape(start)}[^#\n]*", PAGE, re.MULTILINE)
    assert match is not None, f"docs/replay.md has no command {start}"
    return match[0].strip()


def tomorrow(folder: Path) -> str:
    """Copy image-resize and change its code: it makes thumbnails of 300 pixels, and prints something.

    Return the Python that finds it.
    """
    package = folder / "image_resize"
    shutil.copytree(ROOT / "jobs" / "image-resize" / "src" / "image_resize", package)
    settings = package / "settings.py"
    changed = settings.read_text().replace("resize_max_px: int = Field(200", "resize_max_px: int = Field(300")
    assert changed != settings.read_text()
    settings.write_text(changed + "\nprint('hello')\n")
    return f"env PYTHONPATH={folder} {sys.executable}"


def longest_sides(objects: dict[str, bytes]) -> list[int]:
    return sorted(max(Image.open(BytesIO(data)).size) for data in objects.values())


async def test_another_version_is_tried_as_the_page_says_and_nothing_live_changes(place: Place, tmp_path: Path) -> None:
    before, live = await place.seen_from_nats(), place.objects("images_resized")
    python = tomorrow(tmp_path / "tomorrow")
    tried = place.type(command("keda-jobs replay image-resize --since 1d --into bigger --python"), NEW=python)
    assert "event 4 dead_lettered: ForeignKey: " in tried.stderr, tried.stderr
    assert "3 of 4 events done, 1 failed" in tried.stderr
    assert tried.code == 1
    assert longest_sides(place.objects("trials/bigger/images_resized")) == [150, 300, 300]
    compared = place.type(command("keda-jobs compare bigger"))
    assert compared.code == 1
    assert [line.split()[0] for line in compared.stdout.splitlines()] == ["different", "different"]
    assert compared.stderr.splitlines()[-1] == "3 outputs compared: 1 equal, 2 different, 0 missing"
    assert await place.seen_from_nats() == before
    assert place.objects("images_resized") == live


LONG = """
from keda_jobs import Event, StoreSettings
from keda_jobs.long import LongContext, LongSettings, long_job

class Encode(Event, subject="encode"):
    key: str

class Settings(LongSettings, StoreSettings):
    pass

async def encode(event: Encode, job: LongContext[Settings]) -> None:
    job.progress(1, 2)

JOB = long_job(encode, Settings)
"""


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("image_resized", "keda-jobs trial: image_resized.job declares no JOB here (No module named 'image_resized')"),
        ("long_encode", "keda-jobs trial: long-encode is a long job; a trial has no progress and no cancellation"),
        ("users_batch", "keda-jobs trial: users-batch is no event job; only those read events"),
    ],
)
def test_what_cannot_be_tried_is_one_line(package: str, line: str, tmp_path: Path) -> None:
    (tmp_path / "long_encode").mkdir()
    (tmp_path / "long_encode" / "job.py").write_text(LONG)
    command = [sys.executable, "-m", "keda_jobs.event.trial", package, "one"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 1
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
