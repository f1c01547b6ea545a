"""TCP proxy in front of a server. It cuts connections, lets nothing through, or only little."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import Self

from stack.ports import HOST, free_port

_CHUNK = 64 * 1024
# The kernel sends RST instead of FIN: the other side learns that bytes may be lost.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Proxy on a port of its own. It starts without any fault."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._may_pass = asyncio.Event()
        self._may_pass.set()
        self._delay_s = 0.0
        self._bytes_a_second = 0.0
        self._refuses = False

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections, and every new one until `heal`."""
        self._refuses = True
        self._reset_all()

    def silence(self) -> None:
        """Let no byte through until `heal`. Connections are accepted all the same."""
        self._may_pass.clear()

    def slow_down(self, delay_s: float, bytes_a_second: float) -> None:
        """Delay each piece, and limit the pace, until `heal`."""
        self._delay_s, self._bytes_a_second = delay_s, bytes_a_second

    def heal(self) -> None:
        """Pass everything on, what was held back first."""
        self._refuses = False
        self._delay_s = self._bytes_a_second = 0.0
        self._may_pass.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            _reset(writer)
            return
        # Here, because a task that is cancelled before its first step would leave the connection open.
        self._connections.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._pass_both_ways(reader, writer)
        except OSError:
            _reset(writer)  # as the server is down
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _pass_both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._may_pass.wait()
        there, back = await asyncio.open_connection(HOST, self._target_port)
        self._connections.add(back)
        ways = [asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))]
        try:
            # One end that closes ends both ways, as for these protocols it means that no answer is awaited.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._connections.discard(back)
            back.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            if self._delay_s:
                await asyncio.sleep(self._delay_s + len(data) / self._bytes_a_second)
            await self._may_pass.wait()
            writer.write(data)
            await writer.drain()

    def _reset_all(self) -> None:
        for writer in [*self._connections]:
            _reset(writer)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
