"""Start of a script that does something in NATS, here or in a pod.

NATS_URL, NATS_USER and NATS_PASSWORD say where, and NATS_TLS_CA who vouches for it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from collections.abc import Awaitable, Callable

import nats

Command = Callable[..., Awaitable[None]]


def run(*commands: Command) -> None:
    """Run the command that the first argument names. It gets a client and the other arguments."""
    name, *arguments = sys.argv[1:]
    asyncio.run(_run({command.__name__: command for command in commands}[name], arguments))


async def _run(command: Command, arguments: list[str]) -> None:
    ca = os.environ.get("NATS_TLS_CA")
    tls = ssl.create_default_context(cafile=ca) if ca else None
    user, password = os.environ["NATS_USER"], os.environ["NATS_PASSWORD"]
    client = await nats.connect(os.environ["NATS_URL"], user=user, password=password, tls=tls)
    try:
        await command(client, *arguments)
    finally:
        await client.close()
