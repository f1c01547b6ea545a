"""Events for later and long work in the browser: listed, followed and cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest_asyncio
from playwright.async_api import Page, expect

from keda_jobs.domain.identity import Identity
from keda_jobs.domain.long_work import Report
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.long_work import cancelled_by, post_report
from keda_jobs.jetstream.schedules import read_schedules
from keda_jobs.settings import NatsSettings
from stack import NatsServer, UiProcess

LONG_MS = 60_000
WORK = Identity("image-download", 17, 1_764_230_400_000_000_000)


@pytest_asyncio.fixture(loop_scope="session")
async def connection(ui: UiProcess, nats_server: NatsServer) -> AsyncIterator[NatsConnection]:
    """Connect to the server of the page."""
    del ui
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        yield connection


async def send_later(connection: NatsConnection, key: str, when: str, sender: str = "shop") -> None:
    headers = {"Nats-Schedule": when, "Nats-Schedule-Target": "delay.fire.image-download", "Nats-Msg-Id": f"id-{key}"}
    await connection.jetstream.publish(f"delay.wait.{sender}.{key}", b"{}", headers=headers)


async def report(connection: NatsConnection, done: float, text: str) -> None:
    now = datetime.now(UTC)
    await post_report(
        connection, WORK, Report(pod="pod-1", attempt=1, started_at=now, done=done, total=8, text=text), 60
    )


async def test_an_event_for_later_is_cancelled(page: Page, ui: UiProcess, connection: NatsConnection) -> None:
    await page.goto(f"{ui.url}/schedules")
    await expect(page.get_by_text("No event waits for its time")).to_be_visible()

    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await send_later(connection, "k1", f"@at {tomorrow:%Y-%m-%dT%H:%M:%SZ}")
    await send_later(connection, "k2", "@every 1h")
    first = page.get_by_role("row", name="k1")
    await expect(first).to_contain_text("in 23h", timeout=LONG_MS)
    await expect(first).to_contain_text("id-k1")
    await expect(page.get_by_role("row", name="k2")).to_contain_text("@every 1h")

    await page.get_by_role("link", name="Cancel image-download k1").click()
    await page.get_by_role("button", name="Cancel it").click()

    await expect(page.get_by_text("image-download k1: cancelled")).to_be_visible()
    await expect(first).to_have_count(0)
    assert [one.key async for one in read_schedules(connection)] == ["k2"]


async def test_a_schedule_of_a_job_toml_is_known_as_such(page: Page, ui: UiProcess, connection: NatsConnection) -> None:
    await send_later(connection, "report.nightly", "@every 24h", "declared")
    await page.goto(f"{ui.url}/schedules")
    row = page.get_by_role("row", name="report.nightly")
    await expect(row).to_contain_text("@every 24h")

    await row.get_by_role("link", name="Cancel").click()

    await expect(page.get_by_text("unless jobs/report/job.toml loses it too")).to_be_visible()


async def test_long_work_is_followed_and_cancelled(page: Page, ui: UiProcess, connection: NatsConnection) -> None:
    await page.goto(f"{ui.url}/long-work")
    await expect(page.get_by_text("No long work runs")).to_be_visible()

    await report(connection, 2, "<b>scene</b> \u202e2")
    row = page.get_by_role("row", name=str(WORK))
    await expect(row).to_contain_text("2 of 8", timeout=LONG_MS)
    await expect(row).to_contain_text("<b>scene</b> U+202E2")
    await report(connection, 4, "scene 4")
    await expect(row).to_contain_text("4 of 8", timeout=LONG_MS)

    await page.get_by_role("link", name=f"Cancel {WORK}").click()
    await page.get_by_role("button", name="Cancel it").click()

    await expect(page.get_by_text(f"{WORK} is cancelled")).to_be_visible()
    assert "local" in (await cancelled_by(connection, WORK) or "")
