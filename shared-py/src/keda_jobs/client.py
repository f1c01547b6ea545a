"""Client of applications that send events to the jobs.

    async with client.connect("nats://nats.example:4222", user="shop", password=Path("/secrets/nats")) as jobs:
        receipt = await jobs.publish(ImageDownload(url=url), id="order-17", delay="10m")

`connect_sync` is for code without asyncio. Errors say whether the event is stored: `keda_jobs.errors.PublishError`.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, Self, TypeVar, Unpack

from keda_jobs.address import Login, nats_address
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import check_due, delayed, due_in
from keda_jobs.domain.durations import parse_duration
from keda_jobs.domain.event import Event
from keda_jobs.domain.subjects import is_literal, stream_of
from keda_jobs.errors import (
    BrokerUnavailable,
    NotAllStored,
    NotStored,
    Permanent,
    PublishError,
    Unpublishable,
)
from keda_jobs.jetstream.connection import connect as connect_to_nats
from keda_jobs.jetstream.publish import Confirmation
from keda_jobs.jetstream.sender import GIVE_UP_S, NatsSender, event_id
from keda_jobs.runtime.spans import OFF, Tracer
from keda_jobs.runtime.trouble import Part

# Enough to fill a link. With messages of at most 1 MB it also bounds the memory.
_WINDOW = 128
_ID = re.compile(r"[!-~]{1,128}")

T = TypeVar("T")
Delay = float | str | timedelta
"""Seconds, a text such as `10m` or `1h30m`, or a timedelta."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Confirmation that an event is stored, as message `sequence` of `stream`.

    `duplicate` says that the server had an event of this subject and `id` before: published within the last two
    minutes, or by a first try of the same call that got no answer.
    """

    stream: str
    sequence: int
    id: str
    duplicate: bool


class Sender(Protocol):
    """Connection that stores the messages of a client. `keda_jobs.testing` has a fake."""

    @property
    def max_payload(self) -> int:
        """Largest size of a message, headers and body, in bytes."""

    async def send(self, outgoing: Outgoing) -> Confirmation:
        """Have a message stored. Raises `NotStored` or `MaybeStored`."""


@dataclass(frozen=True, slots=True)
class Publication:
    """Event with the message that carries it."""

    event: Event
    outgoing: Outgoing
    due: datetime | None


class Client:
    """Client of an application with asyncio."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._tracer = _application_tracer()

    async def publish(
        self,
        event: Event,
        *,
        id: str | None = None,  # noqa: A002
        delay: Delay | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Publish `event`, and wait until the server has stored it, at most ten seconds.

        Of events with one subject and one `id`, the server stores the first and no other within two minutes. With
        `delay`, or `at` with a time zone, the server keeps it until then, up to a year. Raises `NotStored`,
        `Unpublishable` before anything is sent, and `MaybeStored`.
        """
        return await self._send(self._prepare(event, id, _due(delay, at)))

    async def publish_many(
        self,
        events: Iterable[Event],
        *,
        id: Callable[[Event], str] | None = None,  # noqa: A002
        delay: Delay | None = None,
        at: datetime | None = None,
    ) -> list[Receipt]:
        """Publish `events`, many at a time, and return their receipts in order. `id` returns the id of an event.

        Raises `Unpublishable` before anything is sent. After the first that is not stored it sends no more, and raises
        `NotAllStored` once all in flight have ended.
        """
        due = _due(delay, at)
        waiting = [self._prepare(event, id and id(event), due) for event in events]
        outcomes: list[Receipt | PublishError] = [
            NotStored(f"{one.event.subject} was not sent, because an earlier event was not stored") for one in waiting
        ]
        numbered = enumerate(waiting)
        failed: list[PublishError] = []

        async def send_some() -> None:
            for number, publication in numbered:
                if failed:
                    return
                try:
                    outcomes[number] = await self._send(publication)
                except PublishError as error:
                    outcomes[number] = error
                    failed.append(error)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_WINDOW, len(waiting))):
                group.create_task(send_some())
        receipts = [outcome for outcome in outcomes if isinstance(outcome, Receipt)]
        if failed:
            raise NotAllStored(f"{len(receipts)} of {len(outcomes)} events are stored: {failed[0]}", outcomes=outcomes)
        return receipts

    def _prepare(self, event: Event, given_id: str | None, due: datetime | None) -> Publication:
        """Build the message. Raises `Unpublishable`."""
        if not _is_event(event):
            raise Unpublishable(f"{type(event).__name__} must be a `class …(keda_jobs.Event, subject='…')`")
        if given_id is not None and not _is_id(given_id):
            raise Unpublishable(f"the id of {event.subject} must be 1 to 128 ASCII characters without blanks")
        # The server keeps one list of ids for all subjects, and an application's ids may be numbers.
        msg_id = f"{event.subject} {given_id or uuid.uuid4()}"
        try:
            outgoing = Outgoing(event.subject, event.encode(), msg_id)
            if due is not None:
                outgoing = delayed(outgoing, due)
            headers = {**outgoing.headers, "Nats-Expected-Stream": stream_of(outgoing.subject)}
            outgoing = replace(outgoing, headers=headers)
            outgoing.wire_headers(self._sender.max_payload)
        except Permanent as error:
            raise Unpublishable(str(error)) from error
        return Publication(event, outgoing, due)

    async def _send(self, publication: Publication) -> Receipt:
        outgoing = publication.outgoing
        with self._tracer.publish(outgoing.subject) as span:
            stored = await self._sender.send(replace(outgoing, headers=span.inject(outgoing.headers)))
        return Receipt(stored.stream, stored.sequence, event_id(outgoing), duplicate=not stored.is_new)


def _due(delay: Delay | None, at: datetime | None) -> datetime | None:
    """Return when to publish, None for now. Raises `Unpublishable`."""
    now = datetime.now(UTC)
    try:
        match delay, at:
            case None, None:
                return None
            case None, datetime():
                check_due(at, now)
                return at
            case timedelta(), None:
                return due_in(delay.total_seconds(), now)
            case str(), None:
                return due_in(parse_duration(delay), now)
            case int() | float(), None:
                return due_in(delay, now)
    except (Permanent, ValueError) as error:
        raise Unpublishable(str(error)) from error
    raise Unpublishable("pass delay=600, '10m' or a timedelta, or at=datetime(…, tzinfo=…)")


def _is_event(value: object) -> bool:
    return isinstance(value, Event) and is_literal(getattr(value, "subject", ""))


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _application_tracer() -> Tracer:
    try:
        from keda_jobs.runtime.otel import application_tracer
    except ImportError:  # without OpenTelemetry
        return OFF
    return application_tracer()


@asynccontextmanager
async def connect(url: str = "nats://localhost:4222", **login: Unpack[Login]) -> AsyncIterator[Client]:
    """Connect to NATS, and close the connection at the end. It reconnects without a limit.

    `url` names the servers of one cluster, separated by commas. Raises `Misconfigured` for arguments and files that
    cannot be right, and `BrokerUnavailable` when no server has taken the login within ten seconds.
    """
    state = Part()
    connection = connect_to_nats(
        nats_address(url, login), name=login.get("name", "application"), wait=True, state=state
    )
    try:
        async with asyncio.timeout(GIVE_UP_S):
            nats = await connection.__aenter__()
    except TimeoutError:
        raise BrokerUnavailable(str(state.reason)) from None
    try:
        yield Client(NatsSender(nats, state))
    finally:
        await connection.__aexit__(None, None, None)


class SyncClient:
    """Client of code without asyncio, safe for threads. It runs a `Client` in a thread of its own."""

    def __init__(self, connection: AbstractAsyncContextManager[Client]) -> None:
        self._process = os.getpid()
        self._connection = connection
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="keda-jobs-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(connection.__aenter__())
        except BaseException:
            self._stop()
            raise

    def publish(
        self,
        event: Event,
        *,
        id: str | None = None,  # noqa: A002
        delay: Delay | None = None,
        at: datetime | None = None,
    ) -> Receipt:
        """Publish `event`, as `Client.publish`."""
        return self._run(self._client.publish(event, id=id, delay=delay, at=at))

    def publish_many(
        self,
        events: Iterable[Event],
        *,
        id: Callable[[Event], str] | None = None,  # noqa: A002
        delay: Delay | None = None,
        at: datetime | None = None,
    ) -> list[Receipt]:
        """Publish `events`, as `Client.publish_many`."""
        return self._run(self._client.publish_many(events, id=id, delay=delay, at=at))

    def close(self) -> None:
        """Close the connection. A process may also end without."""
        if not self._loop.is_closed():
            self._run(self._connection.__aexit__(None, None, None))
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed() or os.getpid() != self._process:
            work.close()
            raise NotStored("this client is closed, or of the parent process: connect after the fork")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # such as Ctrl-C
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def connect_sync(url: str = "nats://localhost:4222", **login: Unpack[Login]) -> SyncClient:
    """Connect to NATS, as `connect`. Close the client at the end, or use it in a `with` statement."""
    return SyncClient(connect(url, **login))
