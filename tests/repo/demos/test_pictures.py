"""Scenario with pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from demo.pictures.contact_sheet import draw
from demo.pictures.events import PictureEvent, originals
from demo.pictures.progress import Picture, Progress, StoredImage
from demo.pictures.web import Answer, WebServer
from keda_jobs.domain.dead_letter import DeadLetter

from .runs import run_demo, run_make

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DEAD_LETTER = DeadLetter(
    1, NOW, "image-download", '{"url": "http://x/a.png"}', 4, "image-download", "Gone", "Gone: away", "json", {}
)
EVENT = PictureEvent("a.png", "http://x/a.png")
THUMBNAIL = StoredImage(Path("a.png"), "images_resized/a.png", "PNG", (1, 1), 1, NOW)

REASONS = {
    "always-503.jpg": r"image-download +4 +HttpUnavailable .*the server answered 503",
    "missing.jpg": r"image-download +1 +HttpRefused .*the server answered 404",
    "sign-in.jpg": r"image-download +1 +NotAnImage .*an HTML page",
    "truncated.jpg": r"image-resize +1 +\w+ .*truncated",
    "bomb.gif": r"image-resize +1 +\w+ .*more than the 100000000 pixels",
    "redirect-inside.jpg": r"image-download +1 +ForbiddenAddress .*127\.0\.0\.1 is not a public address",
    "metadata-service": r"image-download +1 +ForbiddenAddress .*169\.254\.169\.254 is not a public address",
    "private-address": r"image-download +1 +ForbiddenAddress .*127\.0\.0\.1 is not a public address",
}


@pytest.fixture(autouse=True)
def _pictures_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        server.answers["/rocket.jpg"] = Answer(originals()["rocket.jpg"])
        yield server


@pytest.mark.slow
def test_every_good_picture_comes_out_and_every_bad_one_is_a_dead_letter(tmp_path: Path) -> None:
    readme_picture = tmp_path / "demo.png"

    ended = run_demo("--only", "pictures", "--folder", tmp_path, "--picture", readme_picture)

    assert (ended.returncode, ended.stderr) == (0, "")
    names = originals().keys()
    bucket = tmp_path / "pictures" / "s3" / "keda-jobs" / "images_resized"
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
    with Image.open(tmp_path / "pictures" / "contact-sheet.png") as sheet:
        assert min(sheet.size) > 1000
    assert 50_000 < readme_picture.stat().st_size < 400_000
    assert "contact-sheet.png" in ended.stdout


@pytest.mark.slow
def test_picture_that_does_not_come_out_is_named_and_the_exit_code_is_1(tmp_path: Path) -> None:
    ended = run_demo("--folder", tmp_path, DOWNLOAD_MAX_BYTES="1000000")

    assert ended.returncode == 1
    too_large = r"demo: (.+) became a dead letter \(ResponseTooLarge: .+\)"
    failed = [re.fullmatch(too_large, line) for line in ended.stderr.splitlines()]
    assert {line and line[1] for line in failed} == {"hubble-animated.gif", "retina-48-mp.jpg"}
    assert not (tmp_path / "users").exists(), "the next scenario ran all the same"


@pytest.mark.slow
def test_one_url_gives_the_path_of_its_thumbnail(web: WebServer, tmp_path: Path) -> None:
    web.answers["/rocket.jpg?size=full"] = web.answers["/rocket.jpg"]

    ended = run_make(
        "demo",
        f"URL={web.url('/rocket.jpg?size=full')}",
        f"ARGS=--folder {tmp_path}",
        DOWNLOAD_ALLOW_ADDRESSES=web.address,
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
def test_url_that_fails_says_why(web: WebServer, tmp_path: Path, allowed: bool, path: str, reason: str) -> None:
    web.answers["/busy.jpg"] = Answer(status=503)

    ended = run_demo(web.url(path), "--folder", tmp_path, DOWNLOAD_ALLOW_ADDRESSES=web.address if allowed else "")

    assert ended.returncode == 1
    assert re.fullmatch(rf"demo: {path[1:]} became a dead letter \({reason}: .+\)\n", ended.stderr)
    assert web.connections > 0 if allowed else web.connections == 0


@pytest.mark.parametrize(
    ("is_good", "ends", "failure"),
    [
        (True, {"thumbnail": THUMBNAIL}, None),
        (True, {}, "a.png has no thumbnail"),
        (True, {"dead_letter": DEAD_LETTER}, "a.png became a dead letter (Gone: away)"),
        (False, {"dead_letter": DEAD_LETTER}, None),
        (False, {}, "a.png has no dead letter"),
        (False, {"thumbnail": THUMBNAIL}, "a.png has no dead letter"),
    ],
)
def test_picture_fails_unless_it_ends_as_it_should(is_good: bool, ends: dict[str, Any], failure: str | None) -> None:
    assert Picture(replace(EVENT, is_good=is_good), **ends).failure == failure


def test_thumbnail_counts_once_it_is_whole(tmp_path: Path) -> None:
    for folder in ("images", "images_resized"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (300, 300), "red").save(tmp_path / "images" / "feed.png")
    small = originals()["microaneurysms.png"]
    thumbnail = tmp_path / "images_resized" / "feed.png"
    progress = Progress([EVENT], tmp_path)
    progress.record("image-download", b'{"url":"http://x/a.png"}', {}, 1, NOW)
    progress.record("image-downloaded", b'{"url":"http://x/a.png","key":"images/feed.png"}', {}, 2, NOW)

    thumbnail.write_bytes(small[:2000])
    progress.find_thumbnails()
    assert not progress.is_settled

    thumbnail.write_bytes(small)
    progress.find_thumbnails()
    assert progress.is_settled


def test_small_picture_keeps_its_size_on_the_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (10, 10), (255, 0, 0)).save(path)
    stored = replace(THUMBNAIL, path=path)

    sheet = draw([Picture(EVENT, original=stored, thumbnail=stored)], 200)

    assert sum(colour == (255, 0, 0) for colour in sheet.get_flattened_data()) == 100
