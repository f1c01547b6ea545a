"""Outcomes of a message, whatever its handler does."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import due_subject, fire_subject
from keda_jobs.errors import Permanent, Transient
from stack import until

from .conftest import JOB, World, fetch_some
from .consuming import Greet, Greeted, Handle, all_dead, consuming, publish, settled


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


async def test_an_event_too_large_to_publish_kills_its_message(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n, text="x" * world.broker.max_payload)

    await publish(world, 1)
    async with consuming(world, handle):
        [dead_letter] = await all_dead(world)
        await until(lambda: settled(world))
    assert dead_letter["data"] == {"n": 1}


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
