"""Overview in the browser: its numbers move by themselves, and it says what is away."""

from __future__ import annotations

import asyncio

from playwright.async_api import Page, expect

from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer, UiProcess


async def publish(server: NatsServer, subject: str, count: int) -> None:
    async with connect(NatsSettings(nats_url=server.url), name="test", wait=False) as connection:
        for _ in range(count):
            await connection.jetstream.publish(subject, b"{}")


async def test_lag_moves_without_a_reload(page: Page, ui: UiProcess, nats_server: NatsServer) -> None:
    await page.goto(ui.url)
    lag = page.locator("#job-image-download [data-label=lag]")
    await expect(lag).to_have_text("0")

    await publish(nats_server, "image-download", 3)

    await expect(lag).to_have_text("3", timeout=30_000)


async def test_focus_stays_where_it_was(page: Page, ui: UiProcess, nats_server: NatsServer) -> None:
    await page.goto(ui.url)
    link = page.get_by_role("link", name="image-resize")
    await link.focus()

    await publish(nats_server, "image-downloaded", 1)

    await expect(page.locator("#job-image-resize [data-label=lag]")).to_have_text("1", timeout=30_000)
    await expect(link).to_be_focused()


async def test_an_outage_of_nats_shows_and_ends(page: Page, ui: UiProcess, nats_server: NatsServer) -> None:
    await page.goto(ui.url)
    await expect(page.get_by_role("row", name="image-download")).to_be_visible()

    await asyncio.to_thread(nats_server.stop)
    away = page.get_by_text("NATS is away")
    await expect(away).to_be_visible(timeout=30_000)
    await expect(page.get_by_role("row", name="image-download")).to_be_visible()

    await asyncio.to_thread(nats_server.start)
    await expect(away).to_be_hidden(timeout=30_000)


async def test_a_page_without_its_server_says_since_when(page: Page, ui: UiProcess) -> None:
    await page.goto(ui.url)
    await expect(page.get_by_role("row", name="image-download")).to_be_visible()

    await asyncio.to_thread(ui.stop)
    await expect(page.get_by_text("Not updated since")).to_be_visible(timeout=30_000)

    await asyncio.to_thread(ui.start)
    await expect(page.get_by_text("Not updated since")).to_be_hidden(timeout=30_000)
