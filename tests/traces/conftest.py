"""A collector, and a site with one picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO

import pytest
from aiohttp import web
from PIL import Image

from stack.collector import Collector


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A collector of traces on loopback."""
    async with Collector() as made:
        yield made


@pytest.fixture
def picture() -> bytes:
    """A small PNG."""
    data = BytesIO()
    Image.new("RGB", (300, 200), "teal").save(data, "PNG")
    return data.getvalue()


@pytest.fixture
async def site(picture: bytes) -> AsyncIterator[str]:
    """The `IP:port` of a web server that has the picture at /a.png, and nothing else."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=picture, content_type="image/png")

    app = web.Application()
    app.router.add_get("/a.png", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()
