"""Publish pictures to the event jobs, follow them to their end and show what became of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nats.aio.msg import Msg
from nats.errors import TimeoutError as NothingCame
from nats.js.client import JetStreamContext
from PIL import Image
from rich.table import Table
from rich.text import Text

from demo.display import display, print_line, print_places, print_tables
from demo.pictures.contact_sheet import draw, save_small
from demo.pictures.events import NOT_FREE, PictureEvent, serve_events
from demo.pictures.progress import Picture, Progress
from demo.pictures.web import WebServer
from demo.resources import stopping
from keda_jobs.cli.terminal import add_row, new_table, sanitize
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.subjects import RETRY_WAIT, STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.settings import NatsSettings
from stack import FREE_PORTS, EventStack

_SHEET = "contact-sheet.png"
_SHEET_PX, _README_PX = 200, 120
_POLL_S = 0.1
_DEADLINE_S = 90.0
# As many downloads of the default DOWNLOAD_TIMEOUT_S as there are deliveries, and the pauses between.
_URL_DEADLINE_S = 200.0
# Nobody waits for work that Ctrl-C interrupts.
_ENVIRONMENT = {"RETRY_STEP_S": "1", "SHUTDOWN_GRACE_S": "1"}


def run_pictures(folder: Path, readme_picture: Path | None) -> list[str]:
    """Run the demo's own pictures and return the failures. Raises `StackError`, `JobError`."""
    with WebServer() as web, WebServer() as forbidden:
        events = serve_events(web, forbidden)
        print_line(f"Serving pictures at {web.url('/')}")
        environment = {"RETRY_MAX_DELIVERIES": "4", "DOWNLOAD_ALLOW_ADDRESSES": web.address}
        progress = _run(folder, environment, events, _DEADLINE_S)
    _save_sheets(progress.thumbnails, folder, readme_picture)
    print_places({"contact sheet": folder / _SHEET, "bucket": progress.bucket, "logs": folder / "*.log"})
    dialled = forbidden.connections
    return progress.failures() + ([f"a forbidden address was dialled {dialled} times"] if dialled else [])


def run_one_picture(url: str, folder: Path) -> list[str]:
    """Run the picture behind `url` and return the failures. Raises `StackError`, `JobError`."""
    event = PictureEvent(url.rpartition("/")[2] or url, url)
    progress = _run(folder, {"RETRY_MAX_DELIVERIES": "3"}, [event], _URL_DEADLINE_S)
    thumbnail = progress.pictures[0].thumbnail
    print_places(({"thumbnail": thumbnail.path} if thumbnail is not None else {}) | {"logs": folder / "*.log"})
    return progress.failures()


def _run(folder: Path, environment: Mapping[str, str], events: list[PictureEvent], deadline_s: float) -> Progress:
    # The demo reads only headers of originals, and that of the bomb too.
    Image.MAX_IMAGE_PIXELS = None
    print_line("Starting NATS, S3 and the jobs")
    stack = EventStack(folder, FREE_PORTS, {**_ENVIRONMENT, **environment})
    progress = Progress(events, stack.s3.bucket_folder)
    with stopping(stack):
        stack.start()
        print_line(f"Publishing {len(events)} events to {stack.nats.url}")
        began = time.monotonic()
        asyncio.run(_follow(stack, progress, began + deadline_s))
        seconds = time.monotonic() - began
    print_tables(_thumbnails_table(progress.thumbnails), _dead_letters_table(progress.dead_letters))
    thumbnails, dead_letters = len(progress.thumbnails), len(progress.dead_letters)
    print_line(f"\n{thumbnails} thumbnails and {dead_letters} dead letters of {len(events)} events in {seconds:.1f} s.")
    return progress


async def _follow(stack: EventStack, progress: Progress, give_up: float) -> None:
    """Publish the events and follow the pictures until all are settled.

    Raises `StackError` when a server or a job dies, `BrokerUnavailable` when NATS refuses an event.
    """
    # Not from the environment, which may lead to another server.
    settings = NatsSettings.model_construct(nats_url=stack.nats.url)
    async with connect(settings, name="keda-jobs-demo", wait=False) as connection:
        stream = await connection.jetstream.subscribe(">", stream=STREAM, ordered_consumer=True)

        async def retry_waits(message: Msg) -> None:
            progress.record_waiting(message.data)

        await connection.client.subscribe(f"{RETRY_WAIT}.>", cb=retry_waits)
        with display() as show:
            for number, picture in enumerate(progress.pictures):
                data = json.dumps({"url": picture.event.url}).encode()
                await publish_with_retry(connection, Outgoing("image-download", data, f"demo:{number}"))
            while not progress.is_settled and time.monotonic() < give_up:
                await _record_next(stream, progress)
                progress.find_thumbnails()
                show(progress.bars)
                for process in stack.processes:
                    process.raise_if_exited()


async def _record_next(stream: JetStreamContext.PushSubscription, progress: Progress) -> None:
    try:
        message = await stream.next_msg(timeout=_POLL_S)
    except NothingCame:
        return
    stored = message.metadata
    progress.record(message.subject, message.data, message.headers or {}, stored.sequence.stream, stored.timestamp)


def _thumbnails_table(pictures: Sequence[Picture]) -> Table:
    columns = ("picture", "original", "bytes", "thumbnail", "bytes", "tries", "time", "key")
    table = new_table(*columns, right=("bytes", "tries", "time"), cut=("key",))
    for picture in pictures:
        original, thumbnail = picture.original, picture.thumbnail
        if original is not None and thumbnail is not None:
            sizes = (original, f"{original.bytes:,}", thumbnail, f"{thumbnail.bytes:,}")
            add_row(table, picture.event.name, *sizes, picture.tries, f"{picture.seconds:.2f} s", thumbnail.key)
    return table


def _dead_letters_table(pictures: Sequence[Picture]) -> Table:
    table = new_table("picture", "job", "tries", "error", "reason", right=("tries",), cut=("reason",))
    for picture in pictures:
        if (dead := picture.dead_letter) is not None:
            reason = Text(sanitize(dead.reason.removeprefix(f"{dead.error_class}: ")), overflow="fold")
            add_row(table, picture.event.name, dead.job, dead.num_delivered, dead.error_class, reason)
    return table


def _save_sheets(pictures: Sequence[Picture], folder: Path, readme_picture: Path | None) -> None:
    if pictures:
        draw(pictures, _SHEET_PX).save(folder / _SHEET)
    free = [picture for picture in pictures if picture.event.name not in NOT_FREE]
    if free and readme_picture is not None:
        save_small(draw(free, _README_PX), readme_picture)
