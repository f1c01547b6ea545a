"""Web server for the downloads: it sends the answers that a test sets, and remembers the requests."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Self

from aiohttp import web


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer to the requests of a path."""

    body: bytes = b""
    status: int = 200


class Origin:
    """A server on a free port of 127.0.0.1. `answers` maps paths to answers, and any other path is a 404."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[float, str]] = []
        self.latency_s = latency_s
        self._may_answer = asyncio.Event()
        self._may_answer.set()
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
        await self._runner.cleanup()

    @property
    def address(self) -> str:
        """`IP:port` pair for DOWNLOAD_ALLOW_ADDRESSES."""
        return f"127.0.0.1:{self._port}"

    @property
    def times_asked(self) -> Counter[str]:
        """Number of requests for each URL."""
        return Counter(self.url(path) for _, path in self.asked)

    def url(self, path: str) -> str:
        """Return the URL of `path`."""
        return f"http://{self.address}{path}"

    def hold(self) -> None:
        """Answer no request until `release`."""
        self._may_answer.clear()

    def release(self) -> None:
        """Answer what waits, and all that follows."""
        self._may_answer.set()

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append((time.monotonic(), request.path))
        await asyncio.sleep(self.latency_s)
        await self._may_answer.wait()
        answer = self.answers.get(request.path, Answer(status=404))
        return web.Response(body=answer.body, status=answer.status)
