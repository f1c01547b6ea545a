"""Objects that the handler reads and writes, and events that it refuses."""

from __future__ import annotations

import hashlib
from io import BytesIO

import pytest
from PIL import Image

from image_resize.handler import resize
from image_resize.settings import Settings
from keda_jobs.domain.policy import Ack, Dead, Retry
from keda_jobs.testing import InMemoryBucket, run_one


def png(width: int = 400, height: int = 200) -> bytes:
    file = BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


PICTURE = png()
SHA256 = hashlib.sha256(PICTURE).hexdigest()
KEY = f"images/{SHA256}.png"


def settings(**values: object) -> Settings:
    required = {"r2_endpoint_url": "http://localhost", "r2_bucket": "pictures"}
    secrets = {"r2_access_key_id": "key", "r2_secret_access_key": "secret"}
    return Settings.model_validate(required | secrets | values)


async def test_a_thumbnail_is_stored_alongside_the_original() -> None:
    event = {"url": "https://example.com/a.png", "key": KEY, "content_type": "image/png", "bytes": 9, "sha256": SHA256}
    result = await run_one(resize, event, store=InMemoryBucket({KEY: PICTURE}))
    assert result.decision == Ack()
    stored = result.store.objects[f"images_resized/{SHA256}.png"]
    assert stored.content_type == "image/png"
    with Image.open(BytesIO(stored.data)) as image:
        assert image.size == (200, 100)
    assert set(result.store.objects) == {KEY, f"images_resized/{SHA256}.png"}


async def test_only_the_key_is_needed_and_the_longest_side_is_a_setting() -> None:
    store = InMemoryBucket({KEY: PICTURE})
    result = await run_one(resize, {"key": KEY}, store=store, settings=settings(resize_max_px=64))
    assert result.decision == Ack()
    with Image.open(BytesIO(store.objects[f"images_resized/{SHA256}.png"].data)) as image:
        assert image.size == (64, 32)


async def test_a_second_delivery_stores_the_same_object() -> None:
    store = InMemoryBucket({KEY: PICTURE})
    await run_one(resize, {"key": KEY}, store=store)
    first = dict(store.objects)
    await run_one(resize, {"key": KEY}, store=store, attempt=2)
    assert store.objects == first


async def test_the_thumbnail_is_named_by_the_hash_when_the_original_is_not() -> None:
    result = await run_one(resize, {"key": "images/cat.png"}, store=InMemoryBucket({"images/cat.png": PICTURE}))
    assert f"images_resized/{SHA256}.png" in result.store.objects


@pytest.mark.parametrize(
    "key",
    [
        "",
        "images/",
        "images/..",
        "images/.",
        "images/.hidden.png",
        "images/../secrets.png",
        "images/a/b.png",
        "images/A.png",
        "images/a.png\n",
        "images/a\0.png",
        "images/a b.png",
        "images/ä.png",
        "/images/a.png",
        "Images/a.png",
        "a.png",
        f"images_resized/{SHA256}.png",
        "s3://other/images/a.png",
        "images/" + "a" * 1018,
    ],
)
async def test_other_keys_are_dead_letters_and_nothing_is_read(key: str) -> None:
    result = await run_one(resize, {"key": key}, store=InMemoryBucket({key: PICTURE}))
    assert isinstance(result.decision, Dead)
    assert set(result.store.objects) == {key}


@pytest.mark.parametrize(
    "event", [{}, {"key": None}, {"key": 7}, {"key": ["images/a.png"]}, {"url": "https://example.com"}]
)
async def test_an_event_without_a_key_is_a_dead_letter(event: dict[str, object]) -> None:
    assert isinstance((await run_one(resize, event)).decision, Dead)


async def test_an_object_that_is_not_a_picture_is_a_dead_letter_with_the_reason() -> None:
    result = await run_one(resize, {"key": KEY}, store=InMemoryBucket({KEY: b"<html>not found</html>"}))
    assert isinstance(result.decision, Dead)
    assert "no readable picture in one of" in result.decision.reason
    assert set(result.store.objects) == {KEY}


async def test_a_missing_original_is_tried_three_times() -> None:
    assert isinstance((await run_one(resize, {"key": KEY}, attempt=2)).decision, Retry)
    assert isinstance((await run_one(resize, {"key": KEY}, attempt=3)).decision, Dead)


async def test_an_original_of_too_many_bytes_or_pixels_is_a_dead_letter() -> None:
    for limit in ({"resize_max_bytes": len(PICTURE) - 1}, {"resize_max_pixels": 400 * 200 - 1}):
        result = await run_one(resize, {"key": KEY}, store=InMemoryBucket({KEY: PICTURE}), settings=settings(**limit))
        assert isinstance(result.decision, Dead)
        assert set(result.store.objects) == {KEY}


def test_a_size_may_have_a_unit() -> None:
    assert settings(resize_max_bytes="5MiB").resize_max_bytes == 5 * 1024 * 1024
    assert settings().resize_max_bytes == 50 * 1024 * 1024
