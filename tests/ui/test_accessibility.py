"""Accessibility of every view, by axe, in both colour schemes and on a narrow and a wide screen."""

from __future__ import annotations

from itertools import product

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, expect

from stack import UiProcess

VIEWS = ("/", "/jobs/image-download", "/actions", "/no-such-page")


async def test_no_view_has_a_violation(browser: Browser, ui: UiProcess) -> None:
    found = {}
    for scheme, width in product(("light", "dark"), (360, 1280)):
        context = await browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": width, "height": 800},
            bypass_csp=True,  # axe is a script of its own
        )
        page = await context.new_page()
        for view in VIEWS:
            await page.goto(f"{ui.url}{view}")
            await expect(page.locator("h1")).to_be_visible()
            result = await Axe().run(page)
            if result.violations_count:
                found[view, scheme, width] = result.generate_report()
            wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wider <= 0, f"{view} has to be scrolled sideways at {width} px"
        await context.close()
    assert found == {}
