"""Dead letters in the browser: one arrives, is opened and replayed, and the picture is there."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from PIL import Image
from playwright.async_api import Browser, Page, expect

from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import JobProcess, NatsServer, S3Server, UiProcess, until

from .conftest import Bury

SLOW_MS = 60_000
HOSTILE = {
    "markup": "<script>alert(1)</script><img src=x onerror=alert(2)></pre></main>{{ 7*7 }}",
    "invisible": "abc\u202egpj.exe\u2066 \u200bzero\u0000width\u001b[31mred\r\n\u2028end \ud800",
    "one-line": "x" * 900_000,
    "nested": "[" * 5_000,
}


@dataclass
class Origin:
    """Web server with one picture, which is missing at first."""

    address: str
    has_picture: bool = False

    async def answer(self, _request: web.Request) -> web.Response:
        if not self.has_picture:
            raise web.HTTPNotFound
        file = io.BytesIO()
        Image.new("RGB", (60, 40), "teal").save(file, "PNG")
        return web.Response(body=file.getvalue(), content_type="image/png")


@pytest_asyncio.fixture(loop_scope="session")
async def origin() -> AsyncIterator[Origin]:
    """Start the web server."""
    origin = Origin("")
    app = web.Application()
    app.router.add_get("/a.png", origin.answer)
    async with TestServer(app) as server:
        origin.address = f"127.0.0.1:{server.port}"
        yield origin


async def test_a_dead_letter_arrives_is_replayed_and_the_picture_is_there(
    page: Page,
    ui: UiProcess,
    nats_server: NatsServer,
    s3_server: S3Server,
    origin: Origin,
    start_job: Callable[..., JobProcess],
) -> None:
    await page.goto(f"{ui.url}/dead-letters")
    await expect(page.get_by_text("No dead letters")).to_be_visible()
    start_job("image-download", DOWNLOAD_ALLOW_ADDRESSES=origin.address)
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        event = json.dumps({"url": f"http://{origin.address}/a.png"}).encode()
        await connection.jetstream.publish("image-download", event)

    row = page.locator("tr[id^=dead-]")
    await expect(row).to_be_visible(timeout=SLOW_MS)
    await row.get_by_role("rowheader").get_by_role("link").click()
    await expect(page.locator("#payload")).to_contain_text("/a.png")
    await expect(page.get_by_text("Delivered 1 time to image-download")).to_be_visible()

    origin.has_picture = True
    await page.get_by_role("button", name="Replay").click()
    await expect(page.get_by_text("1 dead letter replayed")).to_be_visible(timeout=SLOW_MS)
    await until(lambda: list(s3_server.bucket_folder.glob("images/*.png")))
    await page.goto(f"{ui.url}/dead-letters")
    await expect(page.get_by_text("No dead letters")).to_be_visible()


async def test_the_ticked_ones_are_deleted_after_a_question(page: Page, ui: UiProcess, bury: Bury) -> None:
    numbers = [await bury() for _ in range(3)]
    await page.goto(f"{ui.url}/dead-letters")
    for number in numbers[:2]:
        await page.get_by_label(f"Choose {number}").check()
    # A newer one pushes them down, and they stay ticked.
    newest = await bury()
    await expect(page.locator(f"#dead-{newest}")).to_be_visible(timeout=SLOW_MS)

    await page.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("gone. Nobody can replay them")).to_be_visible()
    await page.get_by_role("button", name="Delete 2 dead letters permanently").click()

    await expect(page.get_by_text("2 of 2 dead letters deleted")).to_be_visible(timeout=SLOW_MS)
    left = [numbers[2], newest]
    await expect(page.locator("tr[id^=dead-]")).to_have_count(len(left))


async def test_a_long_replay_is_watched_and_stopped(page: Page, ui: UiProcess, bury: Bury) -> None:
    for _ in range(110):
        await bury()
    await page.goto(f"{ui.url}/dead-letters")
    await page.get_by_text("All that match").get_by_role("link", name="replay").click()
    await page.get_by_label("At most so many a second").fill("2")
    await page.get_by_role("button", name="Replay 110 dead letters").click()
    await expect(page.get_by_role("progressbar")).to_be_visible(timeout=SLOW_MS)

    # It goes on while its page is closed, and every page leads back to it.
    await page.goto(ui.url)
    await page.get_by_role("link", name="Replay 110 dead letters").click()
    await page.get_by_role("button", name="Stop").click()

    await expect(page.get_by_text("stopped before the end")).to_be_visible(timeout=SLOW_MS)


async def test_a_read_only_page_shows_but_has_no_buttons(
    page: Page, declare: Callable[[], Awaitable[None]], start_ui: Callable[..., UiProcess], bury: Bury
) -> None:
    await declare()
    number = await bury()
    ui = start_ui()

    for view in ("/dead-letters", f"/dead-letters/{number}", f"/dead-letters/replay?seq={number}"):
        await page.goto(f"{ui.url}{view}")
        await expect(page.get_by_text("read-only").first).to_be_visible()
        await expect(page.locator("form[method=post], [type=checkbox]")).to_have_count(0)


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_data_is_text(
    browser: Browser, page: Page, ui: UiProcess, bury: Bury, name: str, tmp_path: Path
) -> None:
    await bury("neighbour")
    number = await bury(
        HOSTILE[name], reason=f"Boom: {HOSTILE[name][:300]!r}", headers={"keda-jobs-job": "<b>forged</b>", "X-A": "<i>"}
    )
    alerts: list[str] = []
    page.on("dialog", lambda dialog: alerts.append(dialog.message))

    for view in ("/dead-letters", f"/dead-letters/{number}", f"/dead-letters/{number}?view=raw"):
        await page.goto(f"{ui.url}{view}")
        await expect(page.get_by_text("Boom").first).to_be_visible()
        await expect(page.locator("main script, main img, main b, main i")).to_have_count(0)
        for width in (360, 1280):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (view, width)
            kind = view.rpartition("/")[2].replace("?", "-")
            await page.screenshot(path=tmp_path / f"{name}-{kind}-{width}.png", full_page=True)
    assert alerts == []
