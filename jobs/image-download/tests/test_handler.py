"""Handler of image-download from event to event, and its settings."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest
from origin_server import PNG, Origin, answer, fetching, settings
from pydantic import ValidationError

from image_download import __version__
from image_download.events import ImageDownloaded
from image_download.handler import download
from image_download.settings import Settings
from keda_jobs.domain.policy import Dead, Retry
from keda_jobs.testing import InMemoryBucket, Result, StoredObject, run_one

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


async def run(reply: bytes, **fields: object) -> Result:
    """Deliver one event whose image is answered with `reply`."""
    async with Origin(image=reply) as origin, fetching(origin) as fetcher:
        event = {"url": origin.url() + "?size=full"} | fields
        return await run_one(download, event, settings=settings(origin), resources=fetcher)


@pytest.mark.parametrize("body", [JPEG, JPEG + bytes(2_000_000)], ids=["small", "hashed in a thread"])
async def test_an_image_is_stored_under_its_hash_and_published(body: bytes) -> None:
    result = await run(answer(body, "Content-Type: text/html"))
    sha256 = hashlib.sha256(body).hexdigest()
    key = f"images/{sha256}.jpg"
    assert result.store.objects == {key: StoredObject(body, "image/jpeg")}
    [event] = result.events
    assert isinstance(event, ImageDownloaded)
    assert event.url.endswith("/image?size=full")
    fields = event.model_dump(exclude={"url"})
    assert fields == {"key": key, "content_type": "image/jpeg", "bytes": len(body), "sha256": sha256}


async def test_the_same_image_twice_is_one_object() -> None:
    store = InMemoryBucket()
    async with Origin(a=answer(PNG), b=answer(PNG)) as origin, fetching(origin) as fetcher:
        for name in ("a", "b"):
            event = {"url": origin.url(name)}
            await run_one(download, event, settings=settings(origin), resources=fetcher, store=store)
    assert len(store.objects) == 1


@pytest.mark.parametrize(
    ("reply", "error_class", "reason"),
    [
        (answer(b"<!doctype html><title>Hi</title>"), "NotAnImage", "not an image: an HTML page"),
        (answer(b""), "NotAnImage", "not an image: the body is empty"),
        (answer(PNG, status="404 Not Found"), "HttpRefused", "the server answered 404"),
        (answer(status="302 Found\r\nLocation: http://10.0.0.1/"), "ForbiddenAddress", "is not a public address"),
    ],
)
async def test_a_permanent_failure_is_a_dead_letter_and_stores_nothing(
    reply: bytes, error_class: str, reason: str
) -> None:
    result = await run(reply)
    assert isinstance(result.decision, Dead)
    assert result.decision.error_class == error_class
    assert reason in result.decision.reason
    assert "size=full" not in result.decision.reason
    assert result.store.objects == {}


async def test_a_transient_failure_is_retried_and_stores_nothing() -> None:
    result = await run(answer(PNG, length=1000))
    assert isinstance(result.decision, Retry)
    assert result.store.objects == {}


@pytest.mark.parametrize("url", ["", "x" * 2049, 5, None])
async def test_an_event_without_a_usable_url_is_a_dead_letter(url: object) -> None:
    result = await run(answer(PNG), url=url)
    assert isinstance(result.decision, Dead)
    assert result.decision.error_class == "InvalidEvent"


def test_the_settings_have_the_documented_defaults() -> None:
    fields = Settings.model_fields
    assert fields["download_max_bytes"].default == 52_428_800
    assert fields["download_timeout_s"].default == 60
    assert fields["download_max_redirects"].default == 5
    assert fields["download_user_agent"].default == f"keda-jobs-image-download/{__version__}"
    assert fields["download_allow_addresses"].default == ""


def test_a_size_may_have_a_unit() -> None:
    assert settings(download_max_bytes="2 MiB").download_max_bytes == 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("download_max_bytes", "0"),
        ("download_timeout_s", "0"),
        ("download_max_redirects", "-1"),
        ("download_user_agent", "a\r\nHost: b"),
        ("download_user_agent", "a\tb"),
        ("download_user_agent", "a\x7f"),
        ("download_user_agent", "böt/1.0"),
        ("download_user_agent", "a" * 513),
        ("download_allow_addresses", "127.0.0.1"),
        ("download_allow_addresses", "10.0.0.0/8:80"),
    ],
)
def test_a_wrong_setting_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValidationError, match=f"(?i){field}"):
        settings(**{field: value})


def test_the_user_agent_names_the_packaged_version() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    assert project["project"]["version"] == __version__
