"""Page of one job: when its retries are due, how its consumer is set, why it failed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.publish import publish
from keda_jobs.settings import NatsSettings
from keda_jobs.ui.job_details import BARS, timeline
from stack import NatsServer

from .conftest import Viewer
from .test_ui_dead_letters import Bury, bury

__all__ = ["bury"]

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
async def reading_viewer(viewer: Viewer) -> AsyncIterator[Viewer]:
    """Serve the page with its background reading of NATS."""
    reading = asyncio.create_task(viewer.ui.streams.run())
    yield viewer
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def schedule(server: NatsServer, delays_s: Sequence[float]) -> None:
    """Schedule retries of image-download."""
    async with connect(NatsSettings(nats_url=server.url), name="test", wait=False) as connection:
        for number, delay_s in enumerate(delays_s, 1):
            identity = Identity("image-download", number, 1)
            message = Message("image-download", b"{}", {}, identity, 1, number, datetime.now(UTC))
            await publish(connection, scheduled_retry(message, "image-download", delay_s, datetime.now(UTC)))


async def test_waiting_retries_are_on_a_time_axis(reading_viewer: Viewer, nats_server: NatsServer) -> None:
    await schedule(nats_server, [620, 640, 7200])

    page = await reading_viewer.until("/jobs/image-download", lambda answer: "3 waiting" in answer.text)

    assert page.text.count("<rect ") == 2, "one bar for the two that are due together"
    assert "in 59m" in page.words, "the middle of the axis"
    assert "in 1h59m" in page.words


async def test_the_newest_failures_are_counted_by_class(reading_viewer: Viewer, bury: Bury) -> None:
    await bury(3, error_class="HttpUnavailable")
    [newest] = await bury(1, error_class="<b>Odd</b>")
    await bury(1, job="image-resize", error_class="OfAnother")

    page = await reading_viewer.until("/jobs/image-download", lambda answer: "HttpUnavailable" in answer.text)

    assert "/dead-letters?job=image-download&amp;class=HttpUnavailable" in page.text
    assert f'href="/dead-letters/{newest}"' in page.text
    assert page.words.index("<b>Odd</b> 1") < page.words.index("HttpUnavailable 3"), "the last one to fail is on top"
    assert "OfAnother" not in page.words


async def test_the_settings_of_its_consumer_have_units(reading_viewer: Viewer) -> None:
    page = await reading_viewer.until("/jobs/image-download", lambda answer: "ack_wait" in answer.text)

    assert "ack_wait 1m" in page.words
    assert "max_deliver none" in page.words
    assert "[image-download, retry.due.image-download]" in page.words


def test_what_is_overdue_counts_as_due_now() -> None:
    axis = timeline([NOW - timedelta(days=1), NOW, NOW + timedelta(hours=2)], NOW)

    assert axis is not None
    assert (axis.counts[0], axis.counts[BARS - 1], sum(axis.counts), axis.top) == (2, 1, 3, 2)
    assert axis.end == NOW + timedelta(hours=2)


def test_all_due_now_are_one_bar() -> None:
    axis = timeline([NOW, NOW], NOW)

    assert axis is not None
    assert axis.counts == (2, *[0] * (BARS - 1))


def test_no_retry_has_no_axis() -> None:
    assert timeline([], NOW) is None
