"""The page in Chromium, headless, about a NATS server of the test's own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from keda_jobs.domain.subjects import DEAD_LETTER
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import NatsServer, PostgresServer, UiProcess

from .words import Words

Bury = Callable[..., Awaitable[int]]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--pictures FOLDER`."""
    parser.addoption("--pictures", help="folder for the pictures of the documents")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder on one event loop, on which the browser is: it takes seconds to start."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Start the browser, or skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: install it (Debian: apt-get install chromium), or name it with CHROMIUM=")
    async with async_playwright() as playwright:
        # Chromium refuses its sandbox to root, as which containers of CI run.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """Open an empty page. Whatever its script or the browser complains about fails the test."""
    complaints: list[str] = []
    page = await browser.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None)
    yield page
    await page.close()
    assert complaints == []


@pytest.fixture
def start_ui(nats_server: NatsServer, tmp_path: Path) -> Iterator[Callable[..., UiProcess]]:
    """Return a function that starts `keda-jobs ui` with options, about `nats_server`."""
    started: list[UiProcess] = []

    def start(*options: str, **environment: str) -> UiProcess:
        log = tmp_path / f"ui-{len(started)}.log"
        ui = UiProcess(nats_server.environment() | environment, log, 0, *options)
        started.append(ui)
        ui.start()
        return ui

    yield start
    for ui in started:
        ui.kill()


@pytest_asyncio.fixture(loop_scope="session")
async def ui(declare: Callable[[], Awaitable[None]], start_ui: Callable[..., UiProcess]) -> UiProcess:
    """Start the page, which may act, with the declared streams and consumers."""
    await declare()
    return start_ui("--allow-actions")


@pytest.fixture
def bury(nats_server: NatsServer) -> Bury:
    """Return a function that stores a dead letter, and returns its number: `await bury(data, reason="…")`."""

    async def store(data: str = "{}", *, reason: str = "NotFound: 404", headers: dict[str, str] | None = None) -> int:
        body = json.dumps({"subject": "image-download", "data": data, "num_delivered": 15})
        ours = {
            "Keda-Jobs-Job": "image-download",
            "Keda-Jobs-Reason": reason,
            "Keda-Jobs-Error-Class": reason.partition(":")[0],
            "Keda-Jobs-Data": "text",
            "Keda-Jobs-Published-At": datetime.now(UTC).isoformat(),
            "Nats-TTL": "never",
        }
        async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
            answer = await connection.jetstream.publish(DEAD_LETTER, body.encode(), headers=ours | (headers or {}))
            return answer.seq

    return store


@pytest_asyncio.fixture(loop_scope="session")
async def words(postgres_server: PostgresServer, database: str, tmp_path: Path) -> Words:
    """Make the table `words` with its queue, in a database of its own."""
    words = Words(postgres_server.dsn_of(database))
    await words.make(tmp_path)
    return words
