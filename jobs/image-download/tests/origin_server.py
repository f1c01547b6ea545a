"""HTTP server whose bytes a test chooses, a fake DNS, and a hook that fails tests which leave this machine."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import Any, Self

from aiohttp.abc import AbstractResolver, ResolveResult

from image_download.fetch import Fetcher
from image_download.settings import Settings

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]

_watchers: list[list[tuple[str, int]]] = []


def _only_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect" and arguments[0].family in (socket.AF_INET, socket.AF_INET6):
        host, port = arguments[1][:2]
        if not ip_address(host).is_loopback:
            raise AssertionError(f"a test connected to {host}:{port}")
        for dialled in _watchers:
            dialled.append((host, port))


sys.addaudithook(_only_loopback)


@contextmanager
def dials() -> Iterator[list[tuple[str, int]]]:
    """Collect every address that the process connects to during the block, from the interpreter's audit hook."""
    dialled: list[tuple[str, int]] = []
    _watchers.append(dialled)
    yield dialled
    _watchers.remove(dialled)


def answer(body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """Build a response with a Content-Length, which `length` can make wrong."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(location: str, status: str = "302 Found") -> bytes:
    """Build a redirect to `location`."""
    return answer(b"", f"Location: {location}", status=status)


class Origin:
    """Server on a free port of 127.0.0.1. `replies` maps paths to bytes or to functions that write them."""

    def __init__(self, **replies: Reply) -> None:
        self.replies: dict[str, Reply] = {f"/{name}": reply for name, reply in replies.items()}
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def address(self) -> str:
        """`IP:port` pair to allow."""
        return f"127.0.0.1:{self.port}"

    def url(self, name: str = "image", host: str = "127.0.0.1") -> str:
        """Return the URL of the reply `name`."""
        return f"http://{host}:{self.port}/{name}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            reply = self.replies[head.split(b" ", 2)[1].partition(b"?")[0].decode()]
            if isinstance(reply, bytes):
                writer.write(reply)
            else:
                await reply(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client left, as it should when it refuses a response, or the test is over
        finally:
            writer.close()


class Names(AbstractResolver):
    """DNS with fixed answers: each lookup of a name takes the next answer, and the last one is repeated."""

    def __init__(self, **answers: list[list[str] | OSError]) -> None:
        self._answers = {f"{name}.test": answers for name, answers in answers.items()}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answers = self._answers[host]
        hosts = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(hosts, OSError):
            raise hosts
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in hosts
        ]

    async def close(self) -> None:
        pass


def settings(*allowed: Origin, **fields: Any) -> Settings:
    """Build settings that allow the servers `allowed`, with the usual time limit."""
    store = {"r2_endpoint_url": "http://127.0.0.1:1", "r2_access_key_id": "id", "r2_secret_access_key": "secret"}
    pairs = ",".join(origin.address for origin in allowed)
    defaults = {"r2_bucket": "images", "download_allow_addresses": pairs, "download_timeout_s": 60}
    return Settings.model_validate(store | defaults | fields)


@asynccontextmanager
async def fetching(*allowed: Origin, names: Names | None = None, **fields: Any) -> AsyncIterator[Fetcher]:
    """Yield a fetcher that may connect to the servers `allowed`."""
    async with Fetcher(settings(*allowed, **fields), resolver=names) as fetcher:
        yield fetcher


async def fetch(origin: Origin, url: str | None = None, **fields: Any) -> bytearray:
    """Fetch `url` (the path /image by default) with `origin` allowed."""
    async with fetching(origin, **fields) as fetcher:
        return await fetcher.fetch(url or origin.url())
