"""Proxy in front of the S3 server that answers some requests itself, as a store, a firewall or a bad line would."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

import aiohttp
from aiohttp import web

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """Request for an object. `is_probe` tells the store's own probe from the objects of a job."""

    method: str
    key: str
    body: bytes

    @property
    def is_probe(self) -> bool:
        return self.key.endswith("keda-jobs-probe")


Fault = Callable[[Asked], Awaitable[web.Response | None]]
"""Returns the answer, or None to ask the server."""


class FaultyStore:
    """A proxy on a free port of 127.0.0.1. `fault` decides on each request, and none is faulty by default."""

    def __init__(self, server_url: str) -> None:
        self.fault: Fault = sound
        self.asked: list[Asked] = []
        self._server_url = server_url

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * MIB)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def puts(self, key: str) -> int:
        """Count the puts of `key`."""
        return sum(asked.method == "PUT" and asked.key == key for asked in self.asked)

    async def _handle(self, request: web.Request) -> web.Response:
        asked = Asked(request.method, request.path.split("/", 2)[-1], await request.read())
        self.asked.append(asked)
        try:
            return await self.fault(asked) or await self._forward(request, asked.body)
        except ConnectionError:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

    async def _forward(self, request: web.Request, body: bytes) -> web.Response:
        # The signature covers the host, so the proxy passes it on.
        async with self._session.request(
            request.method, self._server_url + request.raw_path, headers=request.headers, data=body
        ) as answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() in ("etag", "content-type")}
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


async def sound(_asked: Asked) -> None:
    """Ask the server."""


def answering(status: int, code: str, content_type: str = "application/xml", **headers: str) -> Fault:
    """Build a fault that answers every request with an error."""

    async def answer(_asked: Asked) -> web.Response:
        text = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
        return web.Response(status=status, text=text, content_type=content_type, headers=headers)

    return answer


async def reset(_asked: Asked) -> web.Response:
    """Break the connection."""
    raise ConnectionResetError


async def hang(_asked: Asked) -> web.Response:
    """Give no answer."""
    await asyncio.Event().wait()
    raise AssertionError


def only(fault: Fault, condition: Callable[[Asked], bool]) -> Fault:
    """Limit `fault` to requests of that kind."""

    async def answer(asked: Asked) -> web.Response | None:
        return await fault(asked) if condition(asked) else None

    return answer


class OneWriteASecond:
    """Fault of a store that takes one write a second for each key, as R2 does."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}

    async def __call__(self, asked: Asked) -> web.Response | None:
        """Refuse a second write within the second."""
        if asked.method != "PUT":
            return None
        now = asyncio.get_running_loop().time()
        if now - self._written.get(asked.key, -1.0) < 1.0:
            return await answering(429, "TooManyRequests")(asked)
        self._written[asked.key] = now
        return None
