"""The loop: slots, trouble of the platform, and the stop. Nothing is lost, and nothing is run twice needlessly."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time

import pytest

from keda_jobs.domain.message import Message
from keda_jobs.errors import StoreUnavailable
from keda_jobs.event import runner as event_runner
from keda_jobs.event.retrying import RetryingBucket
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.testing import InMemoryBucket
from stack import until

from .conftest import ACK_WAIT_S, JOB, World, fetch_some
from .consuming import Greet, Greeted, consuming, publish, settled


async def test_trouble_of_the_platform_costs_no_delivery_and_stops_the_fetching(world: World) -> None:
    well = asyncio.Event()
    attempts: list[int] = []

    async def handle(event: Greet, message: Message) -> Greeted:
        attempts.append(message.attempt)
        if not well.is_set():
            raise StoreUnavailable("the store is away")
        return Greeted(n=event.n)

    await publish(world, *range(6))
    async with consuming(world, handle, concurrency=2):
        await until(lambda: len(attempts) >= 6)
        assert await world.lag() == (4, 2)
        well.set()
        await until(lambda: settled(world))
    assert set(attempts) == {1}
    assert len(await world.bodies("greeted")) == 6


class AwayBucket(InMemoryBucket):
    """Bucket whose store is away until `well` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.well = asyncio.Event()
        self.tries = 0

    async def put(self, key: str, data: bytes | bytearray, *, content_type: str) -> None:
        self.tries += 1
        if not self.well.is_set():
            raise StoreUnavailable("the store is away")
        await super().put(key, data, content_type=content_type)


async def test_only_the_call_that_the_store_failed_is_repeated(world: World) -> None:
    bucket, shutdown = AwayBucket(), Shutdown(0)
    store = RetryingBucket(bucket, Backoff(), shutdown)
    attempts: list[int] = []

    async def handle(event: Greet, message: Message) -> None:
        attempts.append(message.attempt)
        await store.put(f"greetings/{event.n}", b"hello", content_type="text/plain")

    await publish(world, 1)
    # The handler's time limit is shorter than the wait for the store.
    async with consuming(world, handle, handler_timeout_s=0.2):
        await until(lambda: bucket.tries == 3)
        bucket.well.set()
        await until(lambda: settled(world))
    assert attempts == [1]
    assert list(bucket.objects) == ["greetings/1"]


async def test_a_stop_ends_the_wait_for_the_store(world: World) -> None:
    bucket, shutdown = AwayBucket(), Shutdown(3600)
    store = RetryingBucket(bucket, Backoff(), shutdown)

    async def handle(_event: Greet, _message: Message) -> None:
        await store.put("greetings/1", b"hello", content_type="text/plain")

    await publish(world, 1)
    async with consuming(world, handle, shutdown_grace_s=3600) as consumer:
        await until(lambda: bucket.tries == 2)
        shutdown.request()
        consumer._shutdown.request()
    [again] = await fetch_some(world.broker)
    assert Message.from_delivery(again.received, JOB).attempt == 1


async def test_never_more_messages_in_hand_than_slots(world: World) -> None:
    in_hand, most, done = set(), [], []

    async def handle(event: Greet, _message: Message) -> None:
        in_hand.add(event.n)
        most.append(sum((await world.lag())[1:]))
        in_hand.discard(event.n)
        done.append(event.n)

    await publish(world, *range(40))
    async with consuming(world, handle, concurrency=3):
        await until(lambda: settled(world))
    assert sorted(done) == list(range(40))
    assert max(most) <= 3


async def test_what_a_late_answer_brings_beyond_the_slots_is_given_back_uncounted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = world.broker.fetch
    monkeypatch.setattr(world.broker, "fetch", lambda most: fetch(most + 3))
    running, most, runs = set[int](), [], []

    async def handle(event: Greet, message: Message) -> None:
        running.add(event.n)
        most.append(len(running))
        runs.append((event.n, message.attempt))
        await asyncio.sleep(1.5 * ACK_WAIT_S if event.n == 0 else 0)
        running.discard(event.n)

    await publish(world, *range(8))
    async with consuming(world, handle, concurrency=2, retry_max_deliveries=1):
        await until(lambda: len(runs) == 8 and not running)
        await until(lambda: settled(world))
    assert sorted(runs) == [(n, 1) for n in range(8)]
    assert max(most) <= 2
    assert await world.bodies("dead-letter") == []


async def test_work_longer_than_the_ack_wait_runs_once(world: World) -> None:
    runs = []

    async def handle(event: Greet, _message: Message) -> Greeted:
        runs.append(event.n)
        await asyncio.sleep(2 * ACK_WAIT_S)
        return Greeted(n=event.n)

    await publish(world, 1)
    async with consuming(world, handle):
        await until(lambda: world.bodies("greeted"))
        await until(lambda: settled(world))
    assert runs == [1]


async def test_a_stop_lets_running_work_end_and_takes_no_more(world: World) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def handle(event: Greet, _message: Message) -> Greeted:
        started.set()
        await finish.wait()
        return Greeted(n=event.n)

    await publish(world, 1, 2)
    async with consuming(world, handle, concurrency=1) as consumer:
        await started.wait()
        consumer._shutdown.request()
        finish.set()
    assert await world.lag() == (1, 0)
    assert len(await world.bodies("greeted")) == 1


async def test_what_does_not_end_within_the_grace_is_given_back(world: World) -> None:
    started = asyncio.Event()

    async def handle(_event: Greet, _message: Message) -> None:
        started.set()
        await asyncio.Event().wait()

    await publish(world, 1)
    async with consuming(world, handle, shutdown_grace_s=0.1) as consumer:
        await started.wait()
        consumer._shutdown.request()
    [again] = await fetch_some(world.broker)
    assert again.received.num_delivered == 2


async def test_a_handler_that_ignores_its_cancellation_holds_up_no_shutdown(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_runner, "_CANCEL_S", 0.01)
    started, release = asyncio.Event(), asyncio.Event()

    async def handle(_event: Greet, _message: Message) -> None:
        started.set()
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    await publish(world, 1)
    async with consuming(world, handle, shutdown_grace_s=0.1) as consumer:
        await started.wait()
        consumer._shutdown.request()
    [again] = await fetch_some(world.broker)
    assert again.received.num_delivered == 2
    release.set()


async def test_a_stop_during_trouble_gives_back_at_once_and_counts_no_delivery(world: World) -> None:
    tried = asyncio.Event()

    async def handle(_event: Greet, _message: Message) -> None:
        tried.set()
        raise StoreUnavailable("away")

    await publish(world, 1)
    async with consuming(world, handle, shutdown_grace_s=3600) as consumer:
        await tried.wait()
        consumer._shutdown.request()
    [again] = await fetch_some(world.broker)
    returned = Message.from_delivery(again.received, JOB)
    assert (returned.attempt, returned.subject, returned.data) == (1, "greet", b'{"n":1}')
    await again.ack()
    assert await world.lag() == (0, 0)


async def test_a_loop_whose_slots_are_full_goes_on_moving(world: World) -> None:
    release, running = asyncio.Event(), asyncio.Event()

    async def handle(_event: Greet, _message: Message) -> None:
        running.set()
        await release.wait()

    await publish(world, 1, 2)
    async with consuming(world, handle, concurrency=1) as consumer:

        def moved_since(moment: float) -> bool:
            return time.monotonic() - consumer.idle_s > moment

        await running.wait()
        for _ in range(2):
            await until(functools.partial(moved_since, time.monotonic()))
        release.set()
        await until(lambda: settled(world))
