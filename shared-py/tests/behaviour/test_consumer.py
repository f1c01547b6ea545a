"""The loop: nothing lost, nothing run twice needlessly, whatever the handler does."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import due_subject, fire_subject
from keda_jobs.errors import Permanent, StoreUnavailable, Transient
from keda_jobs.event import runner as event_runner
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.retrying import RetryingBucket
from keda_jobs.event.runner import Runner
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.runtime.tracing import OFF, Tracer
from keda_jobs.settings import JobSettings
from keda_jobs.testing import InMemoryBucket
from stack import until

from .conftest import ACK_WAIT_S, JOB, World, decode_all, fetch_some


class Greet(Event, subject="greet"):
    n: int


class Greeted(Event, subject="greeted"):
    n: int
    text: str = ""


Handle = Callable[[Greet, Message], Awaitable[Any]]


@asynccontextmanager
async def consuming(world: World, handle: Handle, tracer: Tracer = OFF, **changes: Any) -> AsyncIterator[Consumer]:
    settings = JobSettings(**({"ack_wait_s": ACK_WAIT_S, "retry_step_s": 0.3, "retry_max_deliveries": 4} | changes))
    runner = Runner(Greet, handle, lambda message: message, settings.handler_timeout_s)
    process = Process(JOB, settings, tracer)
    consumer = Consumer(process, world.broker, runner, EventMetrics(JOB))
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        if not process.shutdown.requested:
            process.shutdown.request()
        await running


async def publish(world: World, *numbers: int) -> None:
    for number in numbers:
        await world.broker.publish(Outgoing("greet", b'{"n":%d}' % number, f"greet:{number}"))


async def settled(world: World) -> bool:
    return await world.lag() == (0, 0)


async def all_dead(world: World, count: int = 1) -> list[dict[str, Any]]:
    async def enough() -> list[bytes]:
        bodies = await world.bodies("dead-letter")
        return bodies if len(bodies) >= count else []

    return decode_all(await until(enough))


async def test_events_that_a_handler_returns_are_published_before_the_ack(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n)

    await publish(world, 1, 2, 3)
    async with consuming(world, handle):
        await until(lambda: settled(world))
    assert sorted(await world.bodies("greeted")) == [b'{"n":%d,"text":""}' % n for n in (1, 2, 3)]


async def test_several_events_of_one_kind_are_all_published(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> list[Greeted]:
        return [Greeted(n=event.n), Greeted(n=event.n)]

    await publish(world, 1)
    async with consuming(world, handle):
        await until(lambda: settled(world))
    assert len(await world.bodies("greeted")) == 2


async def test_a_permanent_error_is_dead_at_the_first_delivery(world: World) -> None:
    async def handle(_event: Greet, _message: Message) -> None:
        raise Permanent("no such greeting")

    await publish(world, 1)
    async with consuming(world, handle):
        assert await all_dead(world) == [{"subject": "greet", "data": {"n": 1}, "num_delivered": 1}]
        await until(lambda: settled(world))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b'{"n": NaN}', b'{"n": "1"}', b'{"n":1,"n":1}', b"[" * 9999])
async def test_what_is_no_event_is_dead_at_the_first_delivery_and_the_next_one_is_done(
    world: World, body: bytes
) -> None:
    done = []

    async def handle(event: Greet, _message: Message) -> None:
        done.append(event.n)

    await world.broker.publish(Outgoing("greet", body, "bad"))
    await publish(world, 7)
    async with consuming(world, handle):
        [dead_letter] = await all_dead(world)
        await until(lambda: settled(world))
    assert (dead_letter["subject"], dead_letter["num_delivered"], done) == ("greet", 1, [7])


async def test_an_event_as_large_as_the_server_takes_can_die(world: World) -> None:
    async def handle(_event: Greet, _message: Message) -> None:
        return None

    size = world.broker.max_payload - 64
    await world.broker.publish(Outgoing("greet", b'{"n":1,"pad":"' + b"\x01" * (size - 16) + b'"}', "big"))
    async with consuming(world, handle):
        [dead_letter] = await all_dead(world)
        await until(lambda: settled(world))
    assert dead_letter["data"].startswith('{"n":1,"pad":"')


async def test_a_transient_error_is_tried_at_growing_distance_and_dies_at_the_limit(world: World) -> None:
    seen: list[tuple[float, Message]] = []

    async def handle(_event: Greet, message: Message) -> None:
        seen.append((asyncio.get_running_loop().time(), message))
        raise Transient("away")

    await publish(world, 1)
    async with consuming(world, handle):
        await until(lambda: seen)
        await until(lambda: settled(world))
        assert [dead_letter["num_delivered"] for dead_letter in await all_dead(world)] == [4]
    gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(seen)]
    assert [message.attempt for _, message in seen] == [1, 2, 3, 4]
    [identity] = {message.id for _, message in seen}
    assert (identity.job, identity.sequence) == (JOB, 1)
    assert {message.subject for _, message in seen} == {"greet"}
    assert all(gap >= step for gap, step in zip(gaps, (0.3, 0.6, 0.9), strict=True))


async def test_a_retry_that_succeeds_leaves_no_dead_letter(world: World) -> None:
    attempts = []

    async def handle(event: Greet, message: Message) -> Greeted:
        attempts.append(message.attempt)
        if message.attempt < 3:
            raise ZeroDivisionError("a bug, sometimes")
        return Greeted(n=event.n)

    await publish(world, 1)
    async with consuming(world, handle):
        await until(lambda: world.bodies("greeted"))
        await until(lambda: settled(world))
    assert attempts == [1, 2, 3]
    assert await world.bodies("dead-letter") == []


async def test_a_message_past_the_limit_dies_without_its_handler(world: World) -> None:
    runs = []

    async def handle(event: Greet, _message: Message) -> None:
        runs.append(event.n)

    await publish(world, 1)
    for _ in range(4):
        [delivery] = await fetch_some(world.broker)
        await delivery.nak()
    async with consuming(world, handle):
        [dead_letter] = await all_dead(world)
        await until(lambda: settled(world))
    assert (dead_letter["num_delivered"], runs) == (5, [])


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


async def test_a_handler_that_hangs_is_tried_again(world: World) -> None:
    attempts = []

    async def handle(_event: Greet, message: Message) -> None:
        attempts.append(message.attempt)
        if message.attempt == 1:
            await asyncio.Event().wait()

    await publish(world, 1)
    async with consuming(world, handle, handler_timeout_s=0.1):
        await until(lambda: len(attempts) == 2)
        await until(lambda: settled(world))


async def leak_cancellation(_event: Greet, _message: Message) -> None:
    raise asyncio.CancelledError


async def exit_with_0(_event: Greet, _message: Message) -> None:
    sys.exit(0)


async def press_ctrl_c(_event: Greet, _message: Message) -> None:
    raise KeyboardInterrupt


async def return_no_json(_event: Greet, _message: Message) -> Greeted:
    return Greeted.model_construct(n=1, text="\ud800")


async def return_an_undeclared_event(event: Greet, _message: Message) -> Greeted:
    class Elsewhere(Greeted, subject="not in the stream"):
        pass

    return Elsewhere(n=event.n)


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize(
    "handle", [leak_cancellation, exit_with_0, press_ctrl_c, return_no_json, return_an_undeclared_event]
)
async def test_misbehaviour_is_an_outcome_of_its_message_only(world: World, handle: Handle) -> None:
    done = []

    async def misbehave_once(event: Greet, message: Message) -> Greeted | None:
        if event.n == 1:
            return await handle(event, message)  # type: ignore[no-any-return]
        done.append(event.n)
        return None

    await publish(world, 1, 2)
    async with consuming(world, misbehave_once, retry_max_deliveries=2):
        [dead_letter] = await all_dead(world)
        await until(lambda: settled(world))
    assert dead_letter["data"] == {"n": 1}
    assert dead_letter["num_delivered"] <= 2
    assert done == [2]


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


async def test_an_event_too_large_to_publish_kills_its_message(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n, text="x" * world.broker.max_payload)

    await publish(world, 1)
    async with consuming(world, handle):
        [dead_letter] = await all_dead(world)
        await until(lambda: settled(world))
    assert dead_letter["data"] == {"n": 1}


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


async def test_the_body_of_a_letter_is_exactly_three_fields(world: World) -> None:
    async def handle(_event: Greet, _message: Message) -> None:
        raise Permanent("no")

    await publish(world, 1)
    async with consuming(world, handle):
        await all_dead(world)
    [body] = await world.bodies("dead-letter")
    assert list(json.loads(body)) == ["subject", "data", "num_delivered"]


async def test_an_event_whose_headers_leave_no_room_for_a_retrys_is_a_dead_letter(world: World) -> None:
    async def handle(_event: Greet, _message: Message) -> None:
        raise Transient("not today")

    await world.broker.publish(Outgoing("greet", b'{"n":1}', "greet:1", {"big": "x" * (48 * 1024 - 100)}))
    async with consuming(world, handle):
        (dead_letter,) = await all_dead(world)
        await until(lambda: settled(world))
    assert (dead_letter["data"], dead_letter["num_delivered"]) == ({"n": 1}, 1)


async def test_what_neither_a_job_nor_a_replay_sent_is_no_retry(world: World) -> None:
    """NATS stores its confirmation of a publish wherever the publisher asks for it, also among the due retries."""
    done = []

    async def handle(event: Greet, _message: Message) -> None:
        done.append(event.n)

    await publish(world, 7)
    await world.broker.publish(Outgoing(fire_subject(JOB), b'{"n":1}', "confirmation"))
    async with consuming(world, handle):
        (dead_letter,) = await all_dead(world)
        await until(lambda: settled(world))
    assert (dead_letter["subject"], dead_letter["num_delivered"], done) == (due_subject(JOB), 1, [7])
