"""Trouble with the platform: one notion of it for readiness, metrics and the end of a hold."""

from __future__ import annotations

import asyncio
import time

import pytest

from keda_jobs.errors import PlatformError, StoreUnavailable, Transient
from keda_jobs.runtime.backoff import Backoff, retry_until
from keda_jobs.runtime.process import _TICK_S, Process
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.trouble import Part, Trouble
from keda_jobs.settings import WorkSettings


def test_the_oldest_trouble_counts_until_it_ends() -> None:
    trouble = Trouble()
    nats, store = trouble.watch(Part()), trouble.watch(Part())
    assert (trouble.reason, trouble.outlasting(0)) == (None, None)
    store.began("the store is away")
    nats.began("NATS is away")
    store.since -= 100
    assert (trouble.reason, trouble.outlasting(100)) == ("the store is away", "the store is away; NATS is away")
    assert trouble.outlasting(200) is None
    store.began("the store refuses the key")
    assert trouble.reason == "the store refuses the key"
    assert trouble.oldest(besides=store) is nats
    store.ended()
    assert (trouble.reason, trouble.outlasting(100)) == ("NATS is away", None)


def test_trouble_that_every_process_has_is_shown_and_ends_none() -> None:
    trouble = Trouble()
    stream = trouble.watch(Part(), is_everybodys=True)
    stream.began("the stream is full")
    stream.since -= 100
    assert (trouble.reason, trouble.outlasting(100)) == ("the stream is full", None)


async def test_a_backoff_is_trouble_until_the_platform_answers() -> None:
    trouble = Trouble()
    backoff = trouble.watch(Backoff(max_s=0.01))
    answers: list[Exception] = [StoreUnavailable("away"), StoreUnavailable("away"), Transient("this object")]

    async def call() -> None:
        if not isinstance(answers[0], StoreUnavailable):
            assert trouble.reason == "away"
        raise answers.pop(0)

    with pytest.raises(Transient):
        await retry_until(call, backoff, Shutdown(0))
    assert trouble.reason is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that `time.monotonic` tells."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_server_gets_the_pause_that_it_asks_of_everybody(clock: list[float]) -> None:
    backoff = Backoff(max_s=1.0)
    backoff.failed("quota used up", 30)
    assert 30 < backoff.remaining_s <= 31
    # An answer to a call that was sent before.
    clock[0] += 1
    backoff.reset()
    assert backoff.remaining_s > 29
    assert backoff.active
    clock[0] += 30
    backoff.reset()
    assert (backoff.waiting, backoff.active) == (False, False)


def test_the_longest_pause_counts(clock: list[float]) -> None:
    backoff = Backoff(max_s=1.0)
    backoff.failed("away")
    backoff.failed("quota used up", 30)
    backoff.failed("quota used up", 10)
    backoff.failed("away")
    assert 30 < backoff.remaining_s <= 31


def process_of(hold_timeout_s: float) -> Process[WorkSettings]:
    return Process("held", WorkSettings(hold_timeout_s=hold_timeout_s))


@pytest.mark.parametrize("is_connected", [True, False])
async def test_trouble_that_lasts_ends_the_process(is_connected: bool) -> None:
    process = process_of(5.0)

    async def hold(_process: object) -> None:
        process.connected = is_connected
        part = process.trouble.watch(Part())
        part.began("the key is refused")
        part.since -= 6
        await process.shutdown.wait()
        if not is_connected:
            await asyncio.Event().wait()

    with pytest.raises(PlatformError, match=r"^the key is refused; exiting after 5 s \(HOLD_TIMEOUT_S\)"):
        await process.run(hold)


async def test_trouble_that_ends_in_time_ends_nothing() -> None:
    process = process_of(5.0)

    async def hold(_process: object) -> None:
        part = process.trouble.watch(Part())
        part.began("away")
        part.since -= 4.9
        part.ended()
        part.began("away once more")
        await asyncio.sleep(2 * _TICK_S)

    await process.run(hold)
    assert not process.shutdown.requested


def test_trouble_that_is_not_noted_again_fades(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    part = Part(fades_s=10)
    part.began("no ack")
    now = 109.0
    part.began("still none")
    now = 118.0
    assert (part.active, part.since) == (True, 100.0)
    now = 119.0
    assert not part.active
    part.began("again")
    assert (part.active, part.since) == (True, 119.0)
