"""Resolver for host names that strangers choose: a slow name delays no other download, and nothing else."""

from __future__ import annotations

import asyncio
import errno
import socket
from concurrent.futures import Future
from threading import BoundedSemaphore, Thread
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

# A lookup cannot be cancelled: one of an evil name takes minutes, and so outlives its download a few times over.
_LOOKUPS_PER_DOWNLOAD = 8


class Resolver(AbstractResolver):
    """Resolver of the system, with a thread for each lookup.

    asyncio's own threads are few and serve the whole process, the store and NATS included. These are daemons, so
    none delays the end of the process.
    """

    def __init__(self, concurrency: int) -> None:
        self._free = BoundedSemaphore(_LOOKUPS_PER_DOWNLOAD * concurrency)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of `host`. Raises `OSError`."""
        answer: Future[list[Any]] = Future()
        answer.set_running_or_notify_cancel()
        Thread(target=self._look_up, args=(answer, host, port, family), name="lookup", daemon=True).start()
        return [
            ResolveResult(
                hostname=host, host=address[0], port=address[1], family=family, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for family, _, proto, _, address in await asyncio.wrap_future(answer)
        ]

    async def close(self) -> None:
        """Do nothing: lookups end by themselves."""

    def _look_up(self, answer: Future[list[Any]], host: str, port: int, family: int) -> None:
        if not self._free.acquire(blocking=False):
            answer.set_exception(OSError(errno.EAGAIN, "too many lookups of host names have no answer yet"))
            return
        try:
            answer.set_result(socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))
        except (OSError, UnicodeError) as error:
            answer.set_exception(error)
        finally:
            self._free.release()
