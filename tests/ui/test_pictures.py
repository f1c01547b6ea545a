"""Pictures of every view, for people to look at: both colour schemes, a telephone, a laptop and a large screen.

`make pictures` draws those of README and docs/ui.md anew.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.long_work import Report
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.long_work import post_report
from keda_jobs.jetstream.publish import publish
from keda_jobs.settings import NatsSettings
from stack import NatsServer, UiProcess

from .words import Words

JOB = "image-download"
SCREENS = (*product(("light", "dark"), (360, 1280)), ("light", 3840))
OF_DOCUMENTS = {
    ("overview", "light", 1280),
    ("overview", "dark", 360),
    ("job", "light", 1280),
    ("dead-letters", "light", 1280),
    ("dead-letter", "dark", 1280),
    ("batch", "light", 1280),
}
FAILURES = (
    ("HttpRefused", "the origin answered 404"),
    ("HttpRefused", "the origin answered 410"),
    ("NotAPicture", "text/html is no picture"),
    ("HttpUnavailable", "the origin answered 503; given up after 15 deliveries"),
)


class Scene:
    """What the views show."""

    def __init__(self, connection: NatsConnection) -> None:
        self._connection = connection
        self.dead_letter = 0

    async def make(self) -> None:
        """Store dead letters, retries that wait, events for later, events that nobody takes, and a report."""
        for number in range(24):
            error_class, reason = FAILURES[number % 7 % len(FAILURES)]
            dead = dead_letter(self._message(number), JOB, Dead(reason, error_class), 2**20, datetime.now(UTC))
            self.dead_letter = await self._publish(dead)
        for number in range(40):
            delay_s = 60 + number * number * 5
            await self._publish(scheduled_retry(self._message(100 + number), JOB, delay_s, datetime.now(UTC)))
        for number in range(7):
            await self._publish(Outgoing(JOB, b'{"url": "https://shop.example/new.png"}', f"new-{number}"))
        for key, hours in (("order-17", 3), ("order-23", 26)):
            due = datetime.now(UTC) + timedelta(hours=hours)
            headers = {"Nats-Schedule": f"@at {due:%Y-%m-%dT%H:%M:%SZ}", "Nats-Schedule-Target": f"delay.fire.{JOB}"}
            await self._publish(Outgoing(f"delay.wait.shop.{key}", b"{}", key, headers))
        report = Report(pod="film-7", attempt=1, started_at=datetime.now(UTC), done=3, total=8, text="scene 3")
        await post_report(self._connection, Identity(JOB, 17, 1_764_230_400_000_000_000), report, 600)

    async def _publish(self, outgoing: Outgoing) -> int:
        return (await publish(self._connection, outgoing)).sequence

    def _message(self, number: int) -> Message:
        data = b'{"url": "https://shop.example/pictures/%d.png", "alt": "a teapot"}' % number
        return Message(JOB, data, {}, Identity(JOB, number + 1, time.time_ns()), 3, number + 1, datetime.now(UTC))


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return where the pictures go."""
    given = request.config.getoption("pictures")
    return Path(given) if given else tmp_path


async def test_every_view_fits_every_screen(
    browser: Browser,
    declare: Callable[[], Awaitable[None]],
    nats_server: NatsServer,
    words: Words,
    start_ui: Callable[..., UiProcess],
    folder: Path,
    request: pytest.FixtureRequest,
) -> None:
    await declare()
    await words.insert(1, 9000)
    await words.work(6000, failing=range(1, 300, 7), error="NoWord: not in the dictionary")
    await words.work(500, failing=(6003, 6004), error="TooLong: 300 letters")
    ui = start_ui("--allow-actions", PG_DSN=words.dsn)
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=False) as connection:
        scene = Scene(connection)
        await scene.make()
    views = {
        "overview": "/",
        "job": f"/jobs/{JOB}",
        "dead-letters": "/dead-letters",
        "dead-letter": f"/dead-letters/{scene.dead_letter}",
        "replay": "/dead-letters/replay",
        "batch": "/batches/words-batch",
        "failures": "/batches/words-batch/failures",
        "schedules": "/schedules",
        "long-work": "/long-work",
    }
    for_documents = bool(request.config.getoption("pictures"))
    for scheme, width in SCREENS:
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 800}
        )
        page = await context.new_page()
        for name, path in views.items():
            if for_documents and (name, scheme, width) not in OF_DOCUMENTS:
                continue
            await page.goto(f"{ui.url}{path}")
            if name in ("overview", "job"):  # the page reads again when somebody looks
                newest = re.compile("dead letters 24|40 next in")
                await expect(page.locator("main")).to_contain_text(newest, timeout=60_000)
            await expect(page.locator("h1")).to_be_visible()
            wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{path} has to be scrolled sideways at {width} px"
            await page.screenshot(path=folder / f"{name}-{scheme}-{width}.png", full_page=not for_documents)
        await context.close()
