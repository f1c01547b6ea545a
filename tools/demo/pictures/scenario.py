"""Publish pictures to the event jobs, follow them to their end and show what became of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from nats.errors import TimeoutError as NothingCame
from nats.js.client import JetStreamContext
from PIL import Image

from demo.display import display, print_line, print_places, print_tables
from demo.pictures.contact_sheet import draw, save_small
from demo.pictures.events import MAX_DELIVERIES, RETRY_STEP_S, PictureEvent, serve_events
from demo.pictures.progress import Picture, Progress, failures
from demo.pictures.tables import dead_letters_table, thumbnails_table
from demo.pictures.web import WebServer
from demo.resources import running
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.subjects import STREAM
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.settings import NatsSettings
from stack import FREE_PORTS, EventStack

_SHEET = "contact-sheet.png"
_SHEET_PX, _README_PX = 200, 120
_POLL_S = 0.1
_DEADLINE_S = 90.0

_URL_DELIVERIES = 3
# As many downloads of the default DOWNLOAD_TIMEOUT_S as there are deliveries, and the pauses between.
_URL_DEADLINE_S = 200.0

# Nobody waits for work that Ctrl-C interrupts.
_ENVIRONMENT = {"RETRY_STEP_S": str(RETRY_STEP_S), "SHUTDOWN_GRACE_S": "1"}


def run_all_pictures(folder: Path, readme_picture: Path | None) -> list[str]:
    """Run the demo's own pictures and return the failures. Raises `StackError`, `JobError`."""
    with WebServer() as web, WebServer() as forbidden:
        events = serve_events(web, forbidden)
        environment = {"RETRY_MAX_DELIVERIES": str(MAX_DELIVERIES), "DOWNLOAD_ALLOW_ADDRESSES": web.address}
        with _running_stack(folder, environment) as stack:
            print_line(
                f"Publishing {len(events)} events to {stack.nats.url}; the pictures are served at {web.url('/')}"
            )
            began = time.monotonic()
            progress = _run(stack, events, _DEADLINE_S)
            seconds = time.monotonic() - began
    pictures = progress.pictures
    print_tables(thumbnails_table(pictures), dead_letters_table(pictures))
    _save_sheets(pictures, folder, readme_picture)
    thumbnails = sum(picture.thumbnail is not None for picture in pictures)
    dead_letters = sum(picture.dead_letter is not None for picture in pictures)
    print_line(f"\n{thumbnails} thumbnails and {dead_letters} dead letters of {len(events)} events in {seconds:.1f} s.")
    print_places({"contact sheet": folder / _SHEET, "bucket": stack.s3.bucket_folder, "logs": folder / "*.log"})
    dialled = forbidden.connections
    return failures(pictures) + ([f"a forbidden address was dialled {dialled} times"] if dialled else [])


def run_one_picture(url: str, folder: Path) -> list[str]:
    """Run the picture behind `url` and return the failures. Raises `StackError`, `JobError`."""
    with _running_stack(folder, {"RETRY_MAX_DELIVERIES": str(_URL_DELIVERIES)}) as stack:
        progress = _run(stack, [PictureEvent(_name(url), url)], _URL_DEADLINE_S)
    (picture,) = progress.pictures
    print_tables(thumbnails_table([picture]), dead_letters_table([picture]))
    print_line()
    thumbnail = {"thumbnail": picture.thumbnail.path} if picture.thumbnail is not None else {}
    print_places({**thumbnail, "logs": folder / "*.log"})
    return failures([picture])


def _name(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts.path.rpartition("/")[2] or parts.netloc or url
    except ValueError:
        return url


@contextmanager
def _running_stack(folder: Path, environment: Mapping[str, str]) -> Iterator[EventStack]:
    # The demo reads only headers of originals, and that of the bomb too.
    Image.MAX_IMAGE_PIXELS = None
    print_line("Starting NATS, S3 and the jobs")
    with running(EventStack(folder, FREE_PORTS, {**_ENVIRONMENT, **environment})) as stack:
        yield stack


def _run(stack: EventStack, events: list[PictureEvent], deadline_s: float) -> Progress:
    progress = Progress(events, stack.s3.bucket_folder)
    asyncio.run(_follow(stack, progress, time.monotonic() + deadline_s))
    return progress


async def _follow(stack: EventStack, progress: Progress, give_up: float) -> None:
    """Publish the events and follow the pictures until all are settled.

    Raises `StackError` when a server or a job dies, `BrokerUnavailable` when NATS refuses an event.
    """
    # Not from the environment, which may lead to another server.
    settings = NatsSettings.model_construct(nats_url=stack.nats.url)
    async with connect(settings, name="keda-jobs-demo", wait=False) as connection:
        stream = await connection.jetstream.subscribe(">", stream=STREAM, ordered_consumer=True)
        with display() as show:
            for number, picture in enumerate(progress.pictures):
                await _publish(connection, picture.event, number)
            while not progress.is_settled and time.monotonic() < give_up:
                await _record_next(stream, progress)
                progress.find_thumbnails()
                show(progress)
                for process in stack.processes:
                    process.raise_if_exited()


async def _publish(connection: NatsConnection, event: PictureEvent, number: int) -> None:
    data = json.dumps({"url": event.url}).encode()
    await publish_with_retry(connection, Outgoing("image-download", data, f"demo:{number}"))


async def _record_next(stream: JetStreamContext.PushSubscription, progress: Progress) -> None:
    try:
        message = await stream.next_msg(timeout=_POLL_S)
    except NothingCame:
        return
    stored = message.metadata
    progress.record(message.subject, message.data, message.headers or {}, stored.sequence.stream, stored.timestamp)


def _save_sheets(pictures: list[Picture], folder: Path, readme_picture: Path | None) -> None:
    done = [picture for picture in pictures if picture.thumbnail is not None]
    if done:
        draw(done, _SHEET_PX).save(folder / _SHEET)
    free = [picture for picture in done if picture.event.is_free]
    if free and readme_picture is not None:
        save_small(draw(free, _README_PX), readme_picture)
