"""Pooler in transaction mode that gives each transaction the connection that was idle longest."""

from __future__ import annotations

import asyncio
import struct
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

_SSL_REQUEST = 80877103
Server = tuple[StreamReader, StreamWriter]
Coming: TypeAlias = "asyncio.Task[bytes]"


class Pooler:
    """Proxy between clients and a PostgreSQL server, with one connection to the server for each client."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._resting: asyncio.Queue[Server] = asyncio.Queue()
        self._clients: set[asyncio.Task[None]] = set()
        self.port = 0
        self.changes = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listen for the duration of the block."""
        listener = await asyncio.start_server(self._serve, "127.0.0.1")
        self.port = listener.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            listener.close()
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            while not self._resting.empty():
                self._resting.get_nowait()[1].close()
            await asyncio.sleep(0)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            await self._log_in(reader, writer)
            coming = asyncio.create_task(_message(reader))
            last: Server | None = None
            while True:
                await coming
                server = await self._resting.get()
                self.changes += server is not last
                last = server
                coming = await self._transaction(coming, reader, writer, server)
        writer.close()

    async def _log_in(self, reader: StreamReader, writer: StreamWriter) -> None:
        while True:
            length = await reader.readexactly(4)
            body = await reader.readexactly(struct.unpack("!I", length)[0] - 4)
            if struct.unpack("!I", body[:4])[0] != _SSL_REQUEST:
                break
            writer.write(b"N")
        server = await asyncio.open_connection(self._host, self._port)
        server[1].write(length + body)
        await _until_over(server[0], writer)
        self._resting.put_nowait(server)

    async def _transaction(self, coming: Coming, reader: StreamReader, writer: StreamWriter, server: Server) -> Coming:
        """Pass messages on until the transaction ends, and return the next message."""
        answering = asyncio.create_task(_until_over(server[0], writer))
        while True:
            await asyncio.wait((coming, answering), return_when=asyncio.FIRST_COMPLETED)
            if coming.done():
                message = await coming
                if message[:1] == b"X":
                    answering.cancel()
                    self._resting.put_nowait(server)
                    raise ConnectionResetError
                server[1].write(message)
                coming = asyncio.create_task(_message(reader))
            elif answering.done():
                self._resting.put_nowait(server)
                return coming


async def _message(reader: StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!I", head[1:])[0] - 4)


async def _until_over(reader: StreamReader, writer: StreamWriter) -> None:
    """Pass the server's messages on until it is ready for a query outside a transaction."""
    while True:
        message = await _message(reader)
        writer.write(message)
        if message[:1] == b"Z" and message[5:6] == b"I":
            return
