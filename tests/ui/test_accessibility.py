"""Accessibility of every view, by axe, in both colour schemes and on a narrow and a wide screen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from stack import UiProcess

from .conftest import Bury
from .words import Words

VIEWS = ("/", "/jobs/image-download", "/batches", "/schedules", "/long-work", "/actions", "/no-such-page")
OF_A_BATCH = ("/batches", "/batches/words-batch", "/batches/words-batch/failures", "/batches/words-batch/retry")


async def test_no_view_has_a_violation(browser: Browser, ui: UiProcess) -> None:
    assert await violations(browser, ui.url, VIEWS) == {}


async def test_no_view_of_dead_letters_has_a_violation(browser: Browser, ui: UiProcess, bury: Bury) -> None:
    number = await bury('{"url": "https://shop.example/1.png"}')
    views = [f"/dead-letters{rest}" for rest in ("", f"/{number}", "/replay", "/purge")]
    assert await violations(browser, ui.url, views) == {}


async def test_no_view_of_a_batch_has_a_violation(
    browser: Browser, words: Words, start_ui: Callable[..., UiProcess]
) -> None:
    await words.insert(1, 20)
    await words.work(10, failing=(1, 2), error="NoWord: 'one@1.example' " + "x" * 500)
    ui = start_ui("--allow-actions", PG_DSN=words.dsn)

    assert await violations(browser, ui.url, OF_A_BATCH) == {}


async def violations(browser: Browser, url: str, views: Iterable[str]) -> dict[tuple[str, str, int], str]:
    found = {}
    for scheme, width in product(("light", "dark"), (360, 1280)):
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 800},
            bypass_csp=True,  # axe is a script of its own
        )
        page = await context.new_page()
        for view in views:
            await page.goto(f"{url}{view}")
            await expect(page.locator("h1")).to_be_visible()
            result = await Axe().run(page)
            if result.violations_count:
                found[view, scheme, width] = result.generate_report()
            wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{view} has to be scrolled sideways at {width} px"
        await context.close()
    return found
