"""SIGTERM: no message lost, none run twice needlessly, exit 0 within the grace."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from stack import NatsServer, until

from .origin import Answer, Origin
from .processes import Declare, StartJob, outcomes, reported
from .stream_view import NO_LAG, Lag, StreamView

pytestmark = pytest.mark.slow

PNG = b"\x89PNG\r\n\x1a\n"
CONCURRENCY = 8


def serve(origin: Origin, count: int) -> list[dict[str, Any]]:
    """Let the origin serve N distinct pictures, and return an event for each."""
    for number in range(count):
        origin.answers[f"/{number}"] = Answer(PNG + number.to_bytes(4))
    return [{"url": origin.url(path)} for path in origin.answers]


async def until_asked(origin: Origin, times: int) -> None:
    async def asked() -> bool:
        return len(origin.asked) >= times

    await until(asked)


async def until_downloaded(stream: StreamView, count: int) -> None:
    async def downloaded() -> bool:
        return await stream.count("image-downloaded") == count and await stream.lag("image-download") == NO_LAG

    await until(downloaded)


async def test_downloads_in_flight_end_and_no_other_begins(
    declare: Declare, start: StartJob, origin: Origin, stream: StreamView
) -> None:
    await declare()
    events = serve(origin, CONCURRENCY + 4)
    origin.hold()
    await stream.publish("image-download", events)
    first = await start("image-download", SHUTDOWN_GRACE_S="20")
    await until_asked(origin, CONCURRENCY)
    first.signal(signal.SIGTERM)

    async def it_is_stopping() -> bool:
        return f"stopping, {CONCURRENCY} messages in flight" in first.log.read_text()

    await until(it_is_stopping)
    origin.release()
    assert await asyncio.to_thread(first.wait) == 0
    assert await stream.lag("image-download") == Lag(4, 0)
    assert await stream.count("image-downloaded") == CONCURRENCY

    await start("image-download")
    await until_downloaded(stream, CONCURRENCY + 4)
    assert origin.times_asked == {event["url"]: 1 for event in events}
    assert await stream.count("dead-letter") == 0


async def test_downloads_longer_than_the_grace_are_given_back_at_once(
    declare: Declare, start: StartJob, origin: Origin, stream: StreamView
) -> None:
    await declare(ack_wait_s=60)
    events = serve(origin, CONCURRENCY)
    origin.hold()
    await stream.publish("image-download", events)
    first = await start("image-download", SHUTDOWN_GRACE_S="1")
    await until_asked(origin, CONCURRENCY)
    first.signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait) == 0
    assert [line["outcome"] for line in outcomes(first)] == ["returned"] * CONCURRENCY

    origin.release()
    second = await start("image-download")
    await until_downloaded(stream, CONCURRENCY)  # long before their ack_wait ends
    assert origin.times_asked == {event["url"]: 2 for event in events}
    assert {(line["attempt"], line["outcome"]) for line in await reported(second, CONCURRENCY)} == {(2, "acked")}


async def test_a_message_that_meets_the_last_pull_is_not_stranded(
    declare: Declare, start: StartJob, origin: Origin, stream: StreamView
) -> None:
    await declare(ack_wait_s=60)
    first, *others = serve(origin, 6)
    origin.hold()
    job = await start("image-download")
    await stream.publish("image-download", [first])
    await until_asked(origin, 1)
    # Seven slots are free, so a pull is open when the signal comes; the events come before it has ended.
    job.signal(signal.SIGTERM)
    await stream.publish("image-download", others)
    origin.release()
    assert await asyncio.to_thread(job.wait) == 0
    await start("image-download")
    await until_downloaded(stream, 6)  # long before the ack_wait of a stranded one ends
    assert set(origin.times_asked.values()) == {1}


async def test_a_stop_while_nats_is_away_ends_with_the_grace_and_loses_nothing(
    declare: Declare, start: StartJob, origin: Origin, stream: StreamView, nats_server: NatsServer
) -> None:
    await declare(ack_wait_s=2)
    events = serve(origin, CONCURRENCY)
    origin.hold()
    await stream.publish("image-download", events)
    first = await start("image-download", SHUTDOWN_GRACE_S="3", ACK_WAIT_S="2")
    await until_asked(origin, CONCURRENCY)
    await asyncio.to_thread(nats_server.kill)
    origin.release()
    first.signal(signal.SIGTERM)
    assert await asyncio.to_thread(first.wait) == 0

    await asyncio.to_thread(nats_server.start)
    await start("image-download", ACK_WAIT_S="2")
    await until_downloaded(stream, CONCURRENCY)
    assert origin.times_asked == {event["url"]: 2 for event in events}
