"""JetStream's snapshot of one stream: messages, waiting schedules, consumers with what they have not acked.

A user who takes one needs the right to publish on `$JS.API.STREAM.SNAPSHOT.<stream>` and
`$JS.SNAPSHOT.ACK.<stream>.>`. One who restores needs `$JS.API.STREAM.RESTORE.<stream>` and
`$JS.SNAPSHOT.RESTORE.<stream>.>`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import Info, check_answer, request
from keda_jobs.jetstream.client import received_headers, status_text
from keda_jobs.jetstream.connection import NatsConnection

# The server ends a snapshot or a restore in which nothing happens for 5 s. A slow store takes longer for a part.
_SIGN_OF_LIFE_S = 2.0
_SILENCE_S = 120.0
_SMALLEST = 1024
# One more every 2 s, while the server stores the messages of one block: a minute in all.
_MOST_CONNECTIONS = 32
_CHUNK = 128 * 1024
# One byte of it every 2 s outlasts any store.
_RESERVE = 1024
# The server writes all that it was sent before it answers the end.
_LAST_ANSWER_S = 600.0


class Snapshot:
    """Running snapshot. `info` holds config and state of the stream when it began."""

    def __init__(self, connection: NatsConnection, info: Info, chunks: Subscription) -> None:
        self.info = info
        self._connection = connection
        self._chunks = chunks
        self._reply = ""
        self._unanswered = 0

    @property
    def last_sequence(self) -> int:
        """Number of the last message that the snapshot may hold."""
        return int(self.info["state"]["last_seq"])

    async def chunks(self) -> AsyncGenerator[bytes]:
        """Yield the bytes of the snapshot. The server sends 8 MiB ahead. Raises `BrokerUnavailable`."""
        while chunk := await self._next():
            self._reply = chunk.reply
            self._unanswered += bool(chunk.reply)
            yield chunk.data
            # One that came meanwhile as a sign of life counts.
            if self._unanswered > 0:
                await self._acknowledge()

    async def _next(self) -> Msg | None:
        try:
            chunk = await self._chunks.next_msg(timeout=_SILENCE_S)
        except NatsError as error:
            raise self._cut_off(self._connection.reason(error)) from error
        if chunk.data:
            return chunk
        if (headers := received_headers(chunk)).status not in ("", "204"):
            raise self._cut_off(status_text(headers))
        return None

    async def _acknowledge(self) -> None:
        if self._reply:
            self._unanswered -= 1
            await self._connection.client.publish(self._reply)

    async def stay_alive(self) -> None:
        """Acknowledge a chunk now and then, so that the server waits for a reader that is slow."""
        while True:
            await asyncio.sleep(_SIGN_OF_LIFE_S)
            if self._unanswered + self._chunks.pending_msgs > 0:
                await self._acknowledge()

    def _cut_off(self, reason: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"the snapshot of {self.info['config']['name']} was cut off: {reason}")


@asynccontextmanager
async def open_snapshot(connection: NatsConnection, stream: str) -> AsyncIterator[Snapshot]:
    """Begin a snapshot of `stream`. Raises `StreamMissing`, `ApiError`, `BrokerUnavailable`."""
    inbox = connection.client.new_inbox()
    chunks = await connection.client.subscribe(inbox)
    try:
        size = min(_CHUNK, connection.max_payload)
        info = await request(connection, f"STREAM.SNAPSHOT.{stream}", {"deliver_subject": inbox, "chunk_size": size})
        snapshot = Snapshot(connection, {key: info[key] for key in ("config", "state")}, chunks)
        alive = asyncio.create_task(snapshot.stay_alive())
        try:
            yield snapshot
        finally:
            alive.cancel()
    finally:
        with contextlib.suppress(NatsError):
            await chunks.unsubscribe()


async def restore_snapshot(connection: NatsConnection, info: Info, parts: AsyncIterator[bytes]) -> dict[str, Any]:
    """Create the stream of `info` from the bytes of its snapshot. Return its info.

    Where it fails, the server may keep a stream that holds a part. Raises `ApiError`, `BrokerUnavailable` and what
    `parts` raises.
    """
    verb = f"STREAM.RESTORE.{info['config']['name']}"
    subject = str((await request(connection, verb, info))["deliver_subject"])
    async with AsyncExitStack() as others:
        upload = _Upload(connection, others, verb, subject)
        others.push_async_callback(upload.abandon)
        await upload.send_all(parts)
        return await upload.finish()


class _Upload:
    """Bytes on their way to the server, in order.

    The server answers a piece when it has stored what is before it. With `sync_interval: always` that is thousands of
    small messages, and takes longer than the 5 s after which it gives up if no other piece comes. A connection waits
    for its piece, so the next one goes by another.
    """

    def __init__(self, connection: NatsConnection, others: AsyncExitStack, verb: str, subject: str) -> None:
        self._connection = connection
        self._others = others
        self._verb = verb
        self._subject = subject
        self._largest = min(_CHUNK, connection.max_payload)
        self._size = min(_SMALLEST, self._largest)
        self._idle = [connection]
        self._opened = 1
        self._sent: deque[tuple[NatsConnection, asyncio.Task[Msg]]] = deque()

    async def send_all(self, parts: AsyncIterator[bytes]) -> None:
        """Send the parts. While the next one is read, send the end of the last byte by byte."""
        rest = memoryview(await anext(parts, b""))
        while rest:
            reading = asyncio.ensure_future(anext(parts, b""))
            try:
                await self._send(rest, reading)
            except BaseException:
                reading.cancel()
                raise
            rest = memoryview(await reading)

    async def _send(self, rest: memoryview, reading: asyncio.Future[bytes]) -> None:
        while rest:
            size = self._size if reading.done() else min(self._size, max(1, len(rest) - _RESERVE))
            await self._push(bytes(rest[:size]))
            rest = rest[size:]
            if len(rest) < _RESERVE:
                await asyncio.wait([reading], timeout=_SIGN_OF_LIFE_S)

    async def finish(self) -> dict[str, Any]:
        """Announce the end, and return the info of the stream."""
        while self._sent:
            await self._confirm_first()
        return check_answer(self._verb, (await self._ask(self._connection, b"", _LAST_ANSWER_S)).data)

    async def abandon(self) -> None:
        """Forget what is not answered yet."""
        answers = [answer for _, answer in self._sent]
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)

    async def _push(self, piece: bytes) -> None:
        connection = await self._idle_connection()
        answer = asyncio.create_task(self._ask(connection, piece, _SILENCE_S))
        self._sent.append((connection, answer))
        await asyncio.wait([answer], timeout=_SIGN_OF_LIFE_S)
        self._size = min(self._size * 2, self._largest) if answer.done() else _SMALLEST
        while self._sent and self._sent[0][1].done():
            await self._confirm_first()

    async def _idle_connection(self) -> NatsConnection:
        if not self._idle and self._opened < _MOST_CONNECTIONS:
            self._opened += 1
            return await self._others.enter_async_context(self._connection.another())
        if not self._idle:
            await self._confirm_first()
        return self._idle.pop()

    async def _confirm_first(self) -> None:
        connection, answer = self._sent.popleft()
        self._idle.append(connection)
        if data := (await answer).data:
            check_answer(self._verb, data)

    async def _ask(self, connection: NatsConnection, data: bytes, timeout_s: float) -> Msg:
        try:
            return await connection.client.request(self._subject, data, timeout=timeout_s)
        except NatsError as error:
            raise BrokerUnavailable(f"{self._verb} was cut off: {connection.reason(error)}") from error
