"""Collector of traces, and a site with one picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from aiohttp import web
from PIL import Image

from stack.collector import Collector


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Start a collector of traces on loopback."""
    async with Collector() as made:
        yield made


@pytest.fixture
def picture() -> bytes:
    """Draw a small PNG."""
    data = BytesIO()
    Image.new("RGB", (300, 200), "teal").save(data, "PNG")
    return data.getvalue()


@pytest.fixture
async def site(picture: bytes) -> AsyncIterator[str]:
    """Start a web server with the picture at /a.png and yield its `IP:port`."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=picture, content_type="image/png")

    app = web.Application()
    app.router.add_get("/a.png", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
