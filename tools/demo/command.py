"""The command: its arguments, its two forms, its exit code."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from demo.ending import exit_code_of, running
from demo.folder import claimed
from demo.follow import Board, Course
from demo.lines import say, say_places
from demo.programme import MAX_DELIVERIES, RETRY_STEP_S, Item, programme
from demo.run import run
from demo.sheet import draw, save_small
from demo.show import letters_table, pictures_table, reason
from demo.web import WebServer
from keda_jobs.cli.terminal import print_out
from stack import FREE_PORTS, EventStack
from stack.jobs import ROOT

_FOLDER = ROOT / ".stack" / "demo"
_SHEET = "contact-sheet.png"
_SHEET_PX, _README_PX = 200, 120
_DEADLINE_S = 90.0

_URL_DELIVERIES = 3
# As many downloads of the default DOWNLOAD_TIMEOUT_S as there are deliveries, and the pauses between.
_URL_DEADLINE_S = 200.0

# Work that is interrupted by Ctrl-C is not wanted any more.
_ENVIRONMENT = {"RETRY_STEP_S": str(RETRY_STEP_S), "SHUTDOWN_GRACE_S": "1"}


def main() -> int:
    """The exit code: 0 when everything came out as it should, 1 after one line that says what did not."""
    # Of originals only the header is read here, the bomb's too.
    Image.MAX_IMAGE_PIXELS = None
    return exit_code_of(_demo)


def _demo() -> list[str]:
    arguments = _parse()
    with claimed(arguments.folder):
        if arguments.url:
            return _one_url(arguments.url, arguments.folder)
        return _all_pictures(arguments.folder, arguments.picture)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description="Pictures through the real stack, or the one behind URL.")
    parser.add_argument("url", nargs="?", metavar="URL", help="a picture of yours, instead of the demo's own")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="emptied at start; data, logs and contact sheet")
    parser.add_argument("--picture", type=Path, help="write the README's picture there: free pictures, small")
    arguments = parser.parse_args()
    arguments.folder = arguments.folder.resolve()
    return arguments


def _all_pictures(folder: Path, picture: Path | None) -> list[str]:
    with ExitStack() as opened:
        web, forbidden = opened.enter_context(WebServer()), opened.enter_context(WebServer())
        items = programme(web, forbidden)
        environment = {"RETRY_MAX_DELIVERIES": str(MAX_DELIVERIES), "DOWNLOAD_ALLOW_ADDRESSES": web.address}
        stack = opened.enter_context(_running(folder, environment))
        board = Board(items, stack.s3.bucket_folder)
        say(f"Publishing {len(items)} events to {stack.nats.url}; the pictures are served at http://{web.address}/")
        began = time.monotonic()
        run(stack, board, _DEADLINE_S)
        took_s = time.monotonic() - began
    _show_tables(board.courses)
    _save_sheets(board.courses, folder, picture)
    thumbnails = sum(course.thumbnail is not None for course in board.courses)
    letters = sum(course.letter is not None for course in board.courses)
    say(f"\n{thumbnails} thumbnails and {letters} dead letters of {len(items)} events in {took_s:.1f} s.")
    say_places({"contact sheet": folder / _SHEET, "bucket": stack.s3.bucket_folder, "logs": folder / "*.log"})
    dialled = [f"a forbidden address was dialled {forbidden.connections} times"] if forbidden.connections else []
    return shortfalls(board.courses) + dialled


def _one_url(url: str, folder: Path) -> list[str]:
    with _running(folder, {"RETRY_MAX_DELIVERIES": str(_URL_DELIVERIES)}) as stack:
        board = Board([Item(_name(url), url)], stack.s3.bucket_folder)
        run(stack, board, _URL_DEADLINE_S)
    (course,) = board.courses
    _show_tables(board.courses)
    say()
    thumbnail = {"thumbnail": course.thumbnail.path} if course.thumbnail is not None else {}
    say_places({**thumbnail, "logs": folder / "*.log"})
    return shortfalls(board.courses)


def _name(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts.path.rpartition("/")[2] or parts.netloc or url
    except ValueError:
        return url


@contextmanager
def _running(folder: Path, environment: Mapping[str, str]) -> Iterator[EventStack]:
    say("Starting NATS, S3 and the jobs")
    with running(EventStack(folder, FREE_PORTS, {**_ENVIRONMENT, **environment})) as stack:
        yield stack


def _show_tables(courses: list[Course]) -> None:
    for table in (pictures_table(courses), letters_table(courses)):
        if table.row_count:
            say()
            print_out(table)


def _save_sheets(courses: list[Course], folder: Path, picture: Path | None) -> None:
    done = [course for course in courses if course.thumbnail is not None]
    if done:
        draw(done, _SHEET_PX).save(folder / _SHEET)
    free = [course for course in done if course.item.free]
    if free and picture is not None:
        save_small(draw(free, _README_PX), picture)


def shortfalls(courses: list[Course]) -> list[str]:
    """What did not come out as it should, in the words for the last line."""
    missing = []
    for course in courses:
        if course.item.good and course.letter is not None:
            missing.append(f"{course.item.name} became a dead letter ({course.letter.error_class}: {reason(course)})")
        elif course.item.good and course.thumbnail is None:
            missing.append(f"{course.item.name} has no thumbnail")
        elif not course.item.good and course.letter is None:
            missing.append(f"{course.item.name} has no dead letter")
    return missing
