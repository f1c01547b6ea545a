"""Publishing of raw bytes over a socket, as somebody would who uses no client library."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable

from stack.servers import NatsServer

_CLIENT: dict[str, object] = {"headers": True, "verbose": False, "lang": "raw", "version": "1"}


async def publish_raw(
    server: NatsServer, subject: str, messages: Iterable[tuple[bytes, bytes]], **login: str
) -> list[str]:
    """Publish header blocks with their bodies, and return the errors that the server reports.

    `login` is `user` and `pass`.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b"CONNECT %s\r\n" % json.dumps(_CLIENT | login).encode())
    for block, body in messages:
        writer.write(b"HPUB %s %d %d\r\n" % (subject.encode(), len(block), len(block) + len(body)))
        writer.write(block + body + b"\r\n")
    writer.write(b"PING\r\n")
    errors = []
    while (line := (await reader.readline()).decode().strip()) not in ("PONG", ""):
        errors.append(line)
    writer.close()
    await writer.wait_closed()
    return errors
