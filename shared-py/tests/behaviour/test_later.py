"""Events that a handler returns for later."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from keda_jobs import Later, later
from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import delayed, of_job
from keda_jobs.domain.message import Message
from stack import until

from .conftest import JOB, World, fetch_some
from .consuming import Greet, Greeted, all_dead, consuming, publish, settled

DELAY_S = 1.0


async def test_an_event_for_later_arrives_when_it_is_due_and_is_no_lag_meanwhile(world: World) -> None:
    """Cover a job that polls: it returns its own event until it is satisfied."""
    seen: list[tuple[int, datetime]] = []

    async def handle(event: Greet, _message: Message) -> Greeted | Later[Greet]:
        seen.append((event.n, datetime.now(UTC)))
        return Greeted(n=event.n) if event.n == 3 else later(Greet(n=event.n + 1), DELAY_S)

    await publish(world, 1)
    async with consuming(world, handle):
        await until(lambda: seen)
        await until(lambda: settled(world))
        assert await world.bodies("greeted") == []
        await until(lambda: world.bodies("greeted"))
        await until(lambda: settled(world))
    assert [n for n, _ in seen] == [1, 2, 3]
    # NATS rounds the time at which it publishes.
    assert seen[2][1] - seen[0][1] > timedelta(seconds=DELAY_S)


async def test_a_delivery_after_the_event_was_stored_for_later_doubles_nothing(world: World) -> None:
    """Cover a worker that was killed between the confirmed publish and the ack."""
    runs = []

    async def handle(event: Greet, _message: Message) -> list[Greeted | Later[Greeted]]:
        runs.append(event.n)
        return [Greeted(n=event.n), later(Greeted(n=event.n, text="again"), DELAY_S)]

    await publish(world, 1)
    [delivery] = await fetch_some(world.broker)
    identity = Message.from_delivery(delivery.received, JOB).id
    second = Outgoing("greeted", b'{"n":1,"text":"again"}', identity.msg_id("greeted:1"))
    assert await world.broker.publish(delayed(second, datetime.now(UTC) + timedelta(seconds=DELAY_S), of_job(JOB)))
    await delivery.nak()

    async def both() -> bool:
        return len(await world.bodies("greeted")) >= 2

    # A schedule that was stored twice would fire after the one of a later message.
    async with consuming(world, handle):
        await until(lambda: settled(world))
        await until(both)
        await publish(world, 2)
        await until(lambda: len(runs) == 2)

        async def last() -> bool:
            return b'{"n":2,"text":"again"}' in await world.bodies("greeted")

        await until(last)
    found = [(one["n"], one["text"]) for one in map(json.loads, await world.bodies("greeted"))]
    assert sorted(found) == [(1, ""), (1, "again"), (2, ""), (2, "again")]


async def test_an_event_for_later_that_nobody_named_is_never_sent(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Greeted:
        return later(Greeted(n=event.n), 0)  # type: ignore[return-value]

    await publish(world, 1)
    async with consuming(world, handle, retry_max_deliveries=1):
        await all_dead(world)
        await until(lambda: settled(world))
    [headers] = await world.headers("dead-letter")
    assert "Greeted with the subject 'greeted' for later, which its annotation does not" in headers["Keda-Jobs-Reason"]


async def test_a_delay_that_is_none_makes_a_dead_letter(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Later[Greeted]:
        return later(Greeted(n=event.n), -1)

    await publish(world, 1)
    async with consuming(world, handle):
        await all_dead(world)
        await until(lambda: settled(world))
    [headers] = await world.headers("dead-letter")
    assert headers["Keda-Jobs-Reason"] == "InvalidDelay: a delay of -1 s is not from 0 s to 365 days"
