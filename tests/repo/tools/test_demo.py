"""`make demo` as a person runs it, in a process of its own, with a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from demo.command import shortfalls
from demo.folder import claimed
from demo.follow import Board, Course, Stored
from demo.originals import originals
from demo.programme import Item
from demo.sheet import draw
from demo.web import Answer, WebServer
from keda_jobs.domain.dead_letter import DeadLetter
from stack import StackError
from stack.jobs import ROOT

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LETTER = DeadLetter(
    1, NOW, "image-download", {"url": "http://x/a.png"}, 4, "image-download", "Gone", "Gone: away", "json", {}
)
GOOD, BAD = Item("a.png", "http://x/a.png"), Item("b.png", "http://x/b.png", good=False)

REASONS = {
    "always-503.jpg": r"image-download +4 +HttpUnavailable .*the server answered 503",
    "missing.jpg": r"image-download +1 +HttpRefused .*the server answered 404",
    "sign-in.jpg": r"image-download +1 +NotAnImage .*an HTML page",
    "truncated.jpg": r"image-resize +1 +\w+ .*truncated",
    "bomb.png": r"image-resize +1 +\w+ .*more than the 100000000 pixels",
    "redirect-inside.jpg": r"image-download +1 +ForbiddenAddress .*127\.0\.0\.1 is not a public address",
    "metadata-service": r"image-download +1 +ForbiddenAddress .*169\.254\.169\.254 is not a public address",
    "private-address": r"image-download +1 +ForbiddenAddress .*127\.0\.0\.1 is not a public address",
}


@pytest.fixture(scope="module", autouse=True)
def _pictures_installed() -> None:
    subprocess.run(["tools/setup.sh", "demo"], cwd=ROOT, check=True)


@pytest.fixture(autouse=True)
def _pictures_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        server.answers["/rocket.jpg"] = Answer(picture("rocket.jpg"))
        yield server


def picture(name: str) -> bytes:
    return next(original.body for original in originals() if original.name == name)


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "demo", *map(str, arguments)]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "tools"), **variables}


def run_demo(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        check=False,
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=110,
    )


def processes_of(folder: Path) -> set[int]:
    """The process ids of all whose output goes to a log in `folder`: servers, jobs and the jobs' workers."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                found.add(int(process.name))
    return found


def left_over(folder: Path, deadline_s: float = 30.0) -> set[int]:
    """Those of `folder` that still run; a process that was killed may take a moment to go."""
    give_up = time.monotonic() + deadline_s
    while (alive := processes_of(folder)) and time.monotonic() < give_up:
        time.sleep(0.02)
    return alive


@pytest.mark.slow
def test_every_good_picture_comes_out_and_every_bad_one_is_a_dead_letter(tmp_path: Path) -> None:
    readme_picture = tmp_path / "demo.png"

    ended = run_demo("--folder", tmp_path / "demo", "--picture", readme_picture)

    assert (ended.returncode, ended.stderr) == (0, "")
    names = {original.name for original in originals()}
    bucket = tmp_path / "demo" / "s3" / "keda-jobs" / "images_resized"
    for name in names:
        row = re.search(
            rf"^{re.escape(name)} +\d+×\d+ \w+ .* (\d+)×(\d+) .*images_resized/([0-9a-f]{{64}}\.\w+)",
            ended.stdout,
            re.MULTILINE,
        )
        assert row, f"{name} is not in the table:\n{ended.stdout}"
        with Image.open(bucket / row[3]) as thumbnail:
            assert thumbnail.size == (int(row[1]), int(row[2]))
    assert len(list(bucket.iterdir())) == len(names)
    for name, reason in REASONS.items():
        assert re.search(rf"^{name} +{reason}", ended.stdout, re.MULTILINE), (
            f"{name} has another reason:\n{ended.stdout}"
        )
    assert re.search(r"^coffee\.png .* 3 +\d+\.\d\d s ", ended.stdout, re.MULTILINE), (
        "two retries came before coffee.png"
    )
    assert re.search(r"waiting retries [12],", ended.stdout), "progress shows the retries that wait"
    with Image.open(tmp_path / "demo" / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 1000
    assert 50_000 < readme_picture.stat().st_size < 400_000
    assert "contact-sheet.png" in ended.stdout


@pytest.mark.slow
def test_a_picture_that_does_not_come_out_is_named_and_the_exit_code_is_1(tmp_path: Path) -> None:
    ended = run_demo("--folder", tmp_path, DOWNLOAD_MAX_BYTES="1000000")

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    for name in ("hubble-animated.gif", "retina-48-mp.jpg"):
        assert f"{name} became a dead letter (TooLarge: " in ended.stderr


@pytest.mark.slow
def test_one_url_gives_the_path_of_its_thumbnail(web: WebServer, tmp_path: Path) -> None:
    arguments = [f"URL={web.url('/rocket.jpg?size=full')}", f"ARGS=--folder {tmp_path}"]
    web.answers["/rocket.jpg?size=full"] = web.answers["/rocket.jpg"]

    ended = subprocess.run(
        ["make", "--no-print-directory", "demo", *arguments],
        check=False,
        cwd=ROOT,
        env=environment(DOWNLOAD_ALLOW_ADDRESSES=web.address),
        capture_output=True,
        text=True,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    path = re.search(r"^ +thumbnail +(.+)$", ended.stdout, re.MULTILINE)
    assert path
    with Image.open(path[1]) as thumbnail:
        assert thumbnail.size == (200, 133)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("allowed", "path", "reason"),
    [
        (True, "/busy.jpg", "HttpUnavailable"),
        (False, "/rocket.jpg", "ForbiddenAddress"),
    ],
)
def test_a_url_that_fails_says_why(web: WebServer, tmp_path: Path, allowed: bool, path: str, reason: str) -> None:
    web.answers["/busy.jpg"] = Answer(status=503)

    ended = run_demo(web.url(path), "--folder", tmp_path, DOWNLOAD_ALLOW_ADDRESSES=web.address if allowed else "")

    assert ended.returncode == 1
    assert re.fullmatch(rf"demo: {path[1:]} became a dead letter \({reason}: .+\)\n", ended.stderr)
    assert web.connections > 0 if allowed else web.connections == 0


@pytest.mark.slow
@pytest.mark.parametrize("line", ["Starting", "  1."])
def test_ctrl_c_leaves_no_process_and_no_traceback(tmp_path: Path, line: str) -> None:
    demo = subprocess.Popen(
        command("--folder", tmp_path / "demo"),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    until = next((read for read in demo.stdout if read.startswith(line)), None)
    assert until, "the demo never came so far"
    assert line == "Starting" or len(processes_of(tmp_path)) >= 4

    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=30)

    assert (demo.returncode, errors) == (130, "demo: interrupted, everything is stopped\n")
    assert left_over(tmp_path) == set()


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path / "demo"):
        ended = run_demo("--folder", tmp_path / "demo")

    assert ended.returncode == 1
    assert re.fullmatch(r"demo: a demo is running in .+ already; .+\n", ended.stderr)


def test_a_folder_of_someone_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(StackError, match="was not made by the demo"), claimed(tmp_path):
        pass

    assert (tmp_path / "thesis.txt").exists()


def test_the_folder_of_the_last_run_is_emptied(tmp_path: Path) -> None:
    with claimed(tmp_path):
        (tmp_path / "nats").mkdir()
        (tmp_path / "nats" / "old").touch()
        (tmp_path / "jobs.log").touch()

    with claimed(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["demo.lock"]


def test_nothing_falls_short_when_good_ones_have_thumbnails_and_bad_ones_letters(tmp_path: Path) -> None:
    stored = Stored(tmp_path, "images_resized/a.png", "PNG", (1, 1), 1, NOW)

    assert shortfalls([Course(GOOD, thumbnail=stored), Course(BAD, letter=LETTER)]) == []


def test_a_picture_that_never_came_falls_short() -> None:
    assert shortfalls([Course(GOOD)]) == ["a.png has no thumbnail"]


def test_a_good_picture_that_became_a_dead_letter_falls_short_with_the_reason() -> None:
    assert shortfalls([Course(GOOD, letter=LETTER)]) == ["a.png became a dead letter (Gone: away)"]


def test_a_bad_picture_that_came_out_falls_short(tmp_path: Path) -> None:
    stored = Stored(tmp_path, "images_resized/b.png", "PNG", (1, 1), 1, NOW)

    assert shortfalls([Course(BAD), Course(replace(BAD, name="c.png"), thumbnail=stored)]) == [
        "b.png has no dead letter",
        "c.png has no dead letter",
    ]


def test_a_thumbnail_counts_once_it_is_whole(tmp_path: Path) -> None:
    for folder in ("images", "images_resized"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (300, 300), "red").save(tmp_path / "images" / "feed.png")
    small = picture("microaneurysms.png")
    thumbnail = tmp_path / "images_resized" / "feed.png"
    board = Board([GOOD], tmp_path)
    board.take("image-download", b'{"url":"http://x/a.png"}', {}, 1, NOW)
    board.take("image-downloaded", b'{"url":"http://x/a.png","key":"images/feed.png"}', {}, 2, NOW)

    thumbnail.write_bytes(small[:2000])
    board.look()
    assert not board.settled

    thumbnail.write_bytes(small)
    board.look()
    assert board.settled


def test_a_small_picture_keeps_its_size_on_the_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (10, 10), (255, 0, 0)).save(path)
    stored = Stored(path, "images_resized/dot.png", "PNG", (10, 10), path.stat().st_size, NOW)

    sheet = draw([Course(GOOD, original=stored, thumbnail=stored)], 200)

    assert sum(colour == (255, 0, 0) for colour in sheet.get_flattened_data()) == 100
