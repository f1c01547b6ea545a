"""Batches in the browser: rows by status, reasons, retries, and what is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from stack import NatsServer, PostgresServer, UiProcess, until

from .words import Words

PATH = "/batches/words-batch"
LONG_MS = 60_000
HOSTILE = "Bad: <img src=x onerror=alert(1)> \u202egnp.exe \x07 & 'five' 100%"


@pytest.fixture
def address(words: Words, start_ui: Callable[..., UiProcess]) -> str:
    """Start the page, which may act, and return its address."""
    ui = start_ui("--allow-actions", PG_DSN=words.dsn)
    return ui.url


async def test_a_batch_goes_from_nothing_to_all(page: Page, words: Words, address: str) -> None:
    await words.insert(1, 10)
    await page.goto(address + PATH)
    done = page.locator(".done")
    await expect(done).to_have_text("0.0 %")

    await words.work(4)
    await expect(done).to_have_text("40.0 %", timeout=LONG_MS)

    await words.work(10)
    await expect(done).to_have_text("100.0 %", timeout=LONG_MS)
    await expect(page.get_by_text("Nothing is left to do")).to_be_visible()


async def test_failed_rows_are_found_by_their_reason_and_retried(page: Page, words: Words, address: str) -> None:
    await words.insert(1, 6)
    await words.work(3, failing=(1, 2), error="NoWord: 'one@1.example' is none")
    await words.work(3, failing=(4,), error="Bad: it")
    await page.goto(address + PATH)

    await page.get_by_role("link", name="Examples of NoWord").click()
    await expect(page.locator("#row-1")).to_contain_text("'one@1.example' is none")
    await expect(page.locator("#row-4")).to_have_count(0)
    await page.get_by_role("link", name="Count, and retry those that match").click()
    await expect(page.get_by_text("2 failed permanently")).to_be_visible()
    await page.get_by_role("button", name="Set 2 rows to pending").click()

    await expect(page.get_by_text("2 of 2 rows set to pending")).to_be_visible(timeout=LONG_MS)
    assert await words.value("SELECT count(*) FROM words WHERE batch_status = 'pending'") == 2
    await words.work(10)
    await page.goto(address + PATH)
    await expect(page.locator("li.failed strong")).to_have_text("1", timeout=LONG_MS)


async def test_errors_and_addresses_of_strangers_show_as_text(page: Page, words: Words, address: str) -> None:
    await words.insert(1, 1)
    await words.work(1, failing=(1,), error=HOSTILE)

    for path in (PATH, f"{PATH}/failures", f"{PATH}/retry", f"{PATH}/failures?reason=%25%3Cimg%00"):
        await page.goto(address + path)
        await expect(page.locator("main")).to_be_visible()
        assert await page.locator("main img").count() == 0
        assert not {"\u202e", "\x07"}.intersection(await page.inner_text("main"))
    for path in ("failures?keys=x", "failures?after=1;2", "retry?kind=odd", f"failures?keys={'9' * 30}"):
        answer = await page.goto(f"{address}{PATH}/{path}")
        assert answer
        assert answer.status == 400


async def test_a_refresh_reads_no_row_that_has_not_failed(page: Page, words: Words, address: str) -> None:
    await words.value("ALTER TABLE words SET (autovacuum_enabled = off)")
    await words.insert(1, 100_000)
    await words.work(20_000, failing=(17, 4711))
    statistics = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'words'"
    await page.goto(address + PATH)
    await expect(page.locator("li.failed strong")).to_have_text("2", timeout=LONG_MS)
    before = await words.value(statistics)

    for path in (PATH, f"{PATH}/failures", f"{PATH}/retry", "/batches"):
        await page.goto(address + path)
        await expect(page.locator("main")).to_contain_text("100,000" if path in (PATH, "/batches") else "4711")
    # Connections report their numbers when they end.
    others = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'keda-jobs-cli'"

    async def is_alone() -> bool:
        return await words.value(others) == 0

    await until(is_alone)
    assert await words.value(statistics) - before < 100


async def test_a_login_without_rights_is_told_so(
    page: Page, words: Words, start_ui: Callable[..., UiProcess], postgres_server: PostgresServer, database: str
) -> None:
    del words
    ui = start_ui(PG_DSN=postgres_server.dsn_of(database, "words_scaler"))

    await page.goto(f"{ui.url}/batches")

    await expect(page.get_by_text("permission denied")).to_be_visible(timeout=LONG_MS)
    await expect(page.get_by_text("PostgreSQL cannot be shown")).to_be_visible()


async def test_outages_of_both_servers_show_and_end(
    page: Page,
    declare: Callable[[], Awaitable[None]],
    start_ui: Callable[..., UiProcess],
    own_postgres_server: PostgresServer,
    nats_server: NatsServer,
    tmp_path: Path,
) -> None:
    await declare()
    words = Words(own_postgres_server.dsn)
    await words.make(tmp_path)
    await words.insert(1, 3)
    ui = start_ui(PG_DSN=own_postgres_server.dsn)
    await page.goto(ui.url + PATH)
    await expect(page.locator("li.pending strong")).to_have_text("3", timeout=LONG_MS)

    for server, name in ((own_postgres_server, "PostgreSQL"), (nats_server, "NATS")):
        away = page.get_by_text(f"{name} is away")
        await asyncio.to_thread(server.stop)
        await expect(away).to_be_visible(timeout=LONG_MS)
        await expect(page.locator("li.pending strong")).to_have_text("3")
        await asyncio.to_thread(server.start)
        await expect(away).to_be_hidden(timeout=LONG_MS)


async def test_without_actions_nothing_is_offered(page: Page, words: Words, start_ui: Callable[..., UiProcess]) -> None:
    await words.insert(1, 1)
    await words.work(1, failing=(1,))
    ui = start_ui(PG_DSN=words.dsn)

    await page.goto(f"{ui.url}{PATH}/retry")

    await expect(page.get_by_text("This page is read-only")).to_be_visible()
    await expect(page.get_by_role("button", name="to pending")).to_have_count(0)
