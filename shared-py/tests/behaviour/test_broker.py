"""Behaviour of a broker that the loop relies on. The fake behaves as the server does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from keda_jobs.domain.broker import MessageTooLarge, Outgoing
from keda_jobs.domain.delay import delayed
from keda_jobs.domain.headers import header_bytes
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.event.heartbeat import Heartbeat
from stack import until

from .conftest import ACK_WAIT_S, JOB, World, fetch_some


def greet(number: int = 0, **headers: str) -> Outgoing:
    return Outgoing("greet", b'{"n":%d}' % number, f"greet:{number}", headers)


def waiting(delay_s: float, attempt: int = 1) -> Outgoing:
    message = Message("greet", b"{}", {"trace": "1"}, Identity(JOB, 1, 1), attempt, 1, datetime.now(UTC))
    return scheduled_retry(message, JOB, delay_s, datetime.now(UTC))


async def test_what_is_published_is_delivered_as_it_was(world: World) -> None:
    assert await world.broker.publish(greet(1, trace="t"))
    [delivery] = await fetch_some(world.broker)
    received = delivery.received
    assert (received.subject, received.data, received.num_delivered) == ("greet", b'{"n":1}', 1)
    assert received.headers["trace"] == "t"
    assert received.sequence == 1
    assert abs(datetime.now(UTC) - received.published_at) < timedelta(minutes=1)


async def test_a_fetch_brings_no_more_than_asked_in_order(world: World) -> None:
    for number in range(5):
        await world.broker.publish(greet(number))
    deliveries = [*await fetch_some(world.broker, 3), *await fetch_some(world.broker, 3)]
    assert [delivery.received.data for delivery in deliveries] == [b'{"n":%d}' % number for number in range(5)]
    assert await world.lag() == (0, 5)


async def test_a_fetch_of_nothing_ends_empty(world: World) -> None:
    assert await world.broker.fetch(8) == []


async def test_an_acked_message_is_gone(world: World) -> None:
    await world.broker.publish(greet())
    [delivery] = await fetch_some(world.broker)
    await delivery.ack()
    assert await world.lag() == (0, 0)
    assert await world.broker.fetch(1) == []


async def test_an_ack_may_be_repeated(world: World) -> None:
    await world.broker.publish(greet())
    [delivery] = await fetch_some(world.broker)
    await delivery.ack()
    await delivery.ack()
    assert await world.lag() == (0, 0)


async def test_a_message_given_back_comes_again_at_once(world: World) -> None:
    await world.broker.publish(greet())
    [delivery] = await fetch_some(world.broker)
    await delivery.nak()
    [again] = await fetch_some(world.broker)
    assert (again.received.sequence, again.received.num_delivered) == (1, 2)


async def test_an_unacked_message_comes_again_after_its_ack_wait(world: World) -> None:
    await world.broker.publish(greet())
    await fetch_some(world.broker)
    assert await world.lag() == (0, 1)
    [again] = await fetch_some(world.broker)
    assert again.received.num_delivered == 2


async def test_the_late_ack_of_an_earlier_delivery_counts(world: World) -> None:
    await world.broker.publish(greet())
    [first] = await fetch_some(world.broker)
    await fetch_some(world.broker)
    await first.ack()
    assert await world.lag() == (0, 0)


async def test_in_progress_keeps_a_message(world: World) -> None:
    await world.broker.publish(greet())
    [delivery] = await fetch_some(world.broker)
    heartbeat = Heartbeat(ACK_WAIT_S / 3)
    beats = asyncio.create_task(heartbeat.run())
    heartbeat.begin(delivery)
    ends = asyncio.get_running_loop().time() + 2 * ACK_WAIT_S
    while asyncio.get_running_loop().time() < ends:
        assert await world.broker.fetch(1) == []
    heartbeat.end(delivery)
    beats.cancel()
    await delivery.ack()
    assert await world.lag() == (0, 0)


async def test_the_same_message_id_is_stored_once(world: World) -> None:
    assert await world.broker.publish(greet())
    assert not await world.broker.publish(greet())
    assert len(await world.bodies("greet")) == 1


async def test_a_waiting_retry_is_no_lag_and_comes_back_when_due(world: World) -> None:
    retry = waiting(1.0)
    assert await world.broker.publish(retry)
    assert await world.lag() == (0, 0)
    assert await world.bodies(retry.subject) == [b"{}"]
    [delivery] = await fetch_some(world.broker)
    assert datetime.now(UTC) >= datetime.fromisoformat(retry.headers["Nats-Schedule"].removeprefix("@at "))
    received = delivery.received
    assert (received.subject, received.data, received.num_delivered) == ("retry.due.greeter", b"{}", 1)
    assert received.headers["Keda-Jobs-Id"] == "greeter-1-1"
    assert received.headers["Keda-Jobs-Attempt"] == "1"
    assert received.headers["Keda-Jobs-Subject"] == "greet"
    assert received.headers["trace"] == "1"
    assert "Nats-Msg-Id" not in received.headers
    assert await world.bodies(retry.subject) == []


async def test_a_retry_that_is_due_in_the_past_comes_at_once(world: World) -> None:
    await world.broker.publish(waiting(-60))
    assert len(await fetch_some(world.broker)) == 1


async def test_a_message_has_one_waiting_retry_however_often_it_is_scheduled(world: World) -> None:
    first, second = waiting(3600, attempt=1), waiting(3600, attempt=2)
    await world.broker.publish(first)
    assert not await world.broker.publish(first)
    assert await world.broker.publish(second)
    assert len(await world.bodies(first.subject)) == 1


async def test_what_is_published_to_fire_comes_as_a_due_retry(world: World) -> None:
    await world.broker.publish(Outgoing("retry.fire.greeter", b"{}", "replay", {"trace": "1"}))
    [delivery] = await fetch_some(world.broker)
    message = Message.from_delivery(delivery.received, JOB)
    assert (delivery.received.subject, message.headers) == ("retry.due.greeter", {"trace": "1"})
    assert delivery.received.headers["Nats-Stream-Source"].startswith("keda-jobs-retries ")


async def test_an_event_for_later_arrives_on_its_subject_when_it_is_due(world: World) -> None:
    now = datetime.now(UTC)
    assert await world.broker.publish(delayed(greet(1, trace="t"), now + timedelta(hours=1)))
    assert await world.broker.publish(delayed(greet(2, trace="t"), now))
    assert not await world.broker.publish(delayed(greet(2), now)), "the id is known"

    [delivery] = await fetch_some(world.broker)

    received = delivery.received
    assert (received.subject, received.data, received.headers["trace"]) == ("greet", b'{"n":2}', "t")
    assert received.headers["Nats-Stream-Source"].startswith("keda-jobs-delayed ")
    assert await world.lag() == (0, 1), "what waits is in no lag"


async def test_a_retry_with_the_largest_headers_holds_up_no_other(world: World) -> None:
    def retry(number: int, size: int) -> Outgoing:
        message = Message("greet", b"{}", {"x": "x" * size}, Identity(JOB, 10 + number, 2**63), 1, 1, datetime.now(UTC))
        return scheduled_retry(message, JOB, 0, datetime.now(UTC))

    room = 48 * 1024 - header_bytes(retry(0, 0).wire_headers(world.broker.max_payload))
    with pytest.raises(MessageTooLarge):
        await world.broker.publish(retry(0, room + 1))
    await world.broker.publish(retry(1, room))
    await world.broker.publish(retry(2, 1))
    deliveries = [*await fetch_some(world.broker), *await fetch_some(world.broker)]
    assert {len(delivery.received.headers["x"]) for delivery in deliveries} == {room, 1}


async def test_a_message_over_the_limit_is_refused_before_it_is_sent(world: World) -> None:
    with pytest.raises(MessageTooLarge):
        await world.broker.publish(Outgoing("greet", b"x" * world.broker.max_payload, "big"))
    await world.broker.publish(Outgoing("greet", b"x" * (world.broker.max_payload - 200), "fits"))
    await until(lambda: world.bodies("greet"))
