"""Clients of applications, in memory and with a real server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keda_jobs import Event, client
from keda_jobs.client import Client, SyncClient
from keda_jobs.domain.subjects import DELAYED_STREAM, STREAM
from keda_jobs.errors import NotStored, Unpublishable
from keda_jobs.testing import InMemoryClient, InMemorySyncClient, Published
from stack import NatsServer
from stack.streams import apply_streams

KINDS = ["in-memory", "JetStream"]


class ImageDownload(Event, subject="image-download"):
    url: str
    weight: float = 1.0


class ImageDownloaded(Event, subject="image-downloaded"):
    key: str


class NoSubject(Event):
    n: int


class Wildcard(Event, subject="image.*"):
    n: int


EVENT = ImageDownload(url="https://example.org/a.jpg")


@pytest.fixture(params=KINDS)
async def jobs(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    if request.param == "in-memory":
        yield InMemoryClient()
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    await apply_streams(server.url)
    async with client.connect(server.url) as jobs:
        yield jobs


@pytest.fixture(params=KINDS)
def plain_jobs(request: pytest.FixtureRequest) -> Iterator[SyncClient]:
    if request.param == "in-memory":
        with InMemorySyncClient() as jobs:
            yield jobs
        return
    server: NatsServer = request.getfixturevalue("nats_server")
    asyncio.run(apply_streams(server.url))
    with client.connect_sync(server.url) as jobs:
        yield jobs


async def test_a_receipt_says_where_the_event_is_stored(jobs: Client) -> None:
    first = await jobs.publish(EVENT, id="order-17")
    second = await jobs.publish(EVENT)
    assert (first.stream, first.sequence, first.id, first.duplicate) == (STREAM, 1, "order-17", False)
    assert (second.stream, second.sequence, second.duplicate) == (STREAM, 2, False)


async def test_an_id_is_stored_once_for_each_subject(jobs: Client) -> None:
    first = await jobs.publish(EVENT, id="17")
    again = await jobs.publish(ImageDownload(url="https://example.org/b.jpg"), id="17")
    other = await jobs.publish(ImageDownloaded(key="images/a.jpg"), id="17")
    assert (again.sequence, again.duplicate) == (first.sequence, True)
    assert (other.sequence, other.duplicate) == (2, False)


async def test_many_events_have_receipts_in_order(jobs: Client) -> None:
    events = [ImageDownload(url=f"https://example.org/{n}") for n in range(300)]
    receipts = await jobs.publish_many(events, id=lambda event: event.model_dump()["url"])
    assert [receipt.id for receipt in receipts] == [event.url for event in events]
    assert sorted(receipt.sequence for receipt in receipts) == list(range(1, 301))
    assert await jobs.publish_many([]) == []


async def test_of_many_none_is_sent_when_one_is_wrong(jobs: Client) -> None:
    with pytest.raises(Unpublishable, match="NaN"):
        await jobs.publish_many([EVENT, ImageDownload.model_construct(url="", weight=math.nan)])
    assert (await jobs.publish(EVENT)).sequence == 1


async def test_an_id_that_is_no_header_is_refused(jobs: Client) -> None:
    wrong: list[Any] = ["", " ", "a b", "x" * 129, "a\r\nNats-Rollup: all", "ü", 17, b"17"]
    for number in wrong:
        with pytest.raises(Unpublishable, match="the id of image-download must be 1 to 128 ASCII characters"):
            await jobs.publish(EVENT, id=number)
    assert (await jobs.publish(EVENT)).sequence == 1


async def test_what_is_no_event_is_refused(jobs: Client) -> None:
    wrong: list[Any] = [NoSubject(n=1), Wildcard(n=1), {"url": "a"}, ImageDownload]
    for event in wrong:
        with pytest.raises(Unpublishable, match="must be a `class …"):
            await jobs.publish(event)
    assert (await jobs.publish(EVENT)).sequence == 1


async def test_an_event_above_the_limit_is_refused(jobs: Client) -> None:
    with pytest.raises(Unpublishable, match="the server takes 1048576"):
        await jobs.publish(ImageDownload(url="x" * 2**20))


async def test_an_event_for_later_waits_in_a_stream_of_its_own(jobs: Client) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    receipts = [
        await jobs.publish(EVENT, id="a", delay="1h30m"),
        await jobs.publish(EVENT, id="b", delay=600),
        await jobs.publish(EVENT, id="c", delay=timedelta(minutes=1)),
        *await jobs.publish_many([EVENT], id=lambda _event: "d", at=tomorrow),
    ]
    assert [(receipt.stream, receipt.sequence, receipt.id) for receipt in receipts] == [
        (DELAYED_STREAM, 1, "a"),
        (DELAYED_STREAM, 2, "b"),
        (DELAYED_STREAM, 3, "c"),
        (DELAYED_STREAM, 4, "d"),
    ]
    assert (await jobs.publish(EVENT, id="a", delay=1)).duplicate


async def test_a_wrong_time_is_refused(jobs: Client) -> None:
    now = datetime.now(UTC)
    wrong: list[dict[str, Any]] = [
        *({"delay": delay} for delay in (-1, math.nan, math.inf, "", "10", "10 min", "-5m", 366 * 86_400, [1])),
        *({"at": at} for at in (now.replace(tzinfo=None), now - timedelta(days=1), now + timedelta(days=366), "now")),
        {"delay": "10m", "at": now + timedelta(days=1)},
    ]
    for time in wrong:
        with pytest.raises(Unpublishable) as caught:
            await jobs.publish(EVENT, **time)
        assert "\n" not in str(caught.value)
        with pytest.raises(Unpublishable):
            await jobs.publish_many([EVENT], **time)
    assert (await jobs.publish(EVENT)).sequence == 1


def test_code_without_asyncio_has_the_same(plain_jobs: SyncClient) -> None:
    first = plain_jobs.publish(EVENT, id="order-17")
    assert plain_jobs.publish(EVENT, id="order-17").duplicate
    assert [receipt.sequence for receipt in plain_jobs.publish_many([EVENT])] == [first.sequence + 1]
    with pytest.raises(Unpublishable):
        plain_jobs.publish(EVENT, id="")
    plain_jobs.close()
    plain_jobs.close()
    with pytest.raises(NotStored, match="closed"):
        plain_jobs.publish(EVENT)


async def test_a_test_of_an_application_sees_what_was_published() -> None:
    jobs = InMemoryClient()
    await jobs.publish(EVENT, id="order-17")
    later = datetime.now(UTC) + timedelta(hours=1)
    await jobs.publish(EVENT, id="order-18", at=later)
    assert jobs.published == [Published(EVENT, "order-17"), Published(EVENT, "order-18", later)]
