"""Ids that somebody else used first: no output, retry or dead letter is lost, and none is stored twice needlessly."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import pytest

from keda_jobs.domain.broker import NotConfirmed, Outgoing
from keda_jobs.domain.headers import Header
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.subjects import fire_subject, waiting_subject
from keda_jobs.errors import BrokerUnavailable, Permanent, Transient
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.publishing import Publisher
from keda_jobs.runtime.backoff import Backoff
from keda_jobs.runtime.shutdown import Shutdown
from keda_jobs.settings import JobSettings
from stack import until

from .conftest import JOB, World, fetch_some
from .consuming import Greet, Greeted, all_dead, consuming, publish, settled

DECOY = b"decoy"


def duplicates(metrics: EventMetrics) -> float | None:
    return metrics.registry.get_sample_value("keda_jobs_duplicate_ids_total", {"job": JOB})


async def use_ids_of(world: World, message: Message, subject: str) -> None:
    """Publish on `subject` with each id that the job may need, as if all of them had been guessed."""
    for publication in ("greeted", "greeted:1", "dead-letter", *(f"retry:{attempt}" for attempt in range(1, 5))):
        await world.broker.publish(Outgoing(subject, DECOY, message.id.msg_id(publication)))


@pytest.mark.parametrize("used_on", ["greeted", f"retry.wait.{JOB}.other"])
async def test_whoever_guesses_ids_makes_no_output_retry_or_dead_letter_disappear(
    world: World, used_on: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Cover both streams: dropping counts ids in each of them. No publisher may publish to the one of retries."""
    attempts: list[tuple[int, int]] = []

    async def handle(event: Greet, message: Message) -> list[Greeted]:
        await use_ids_of(world, message, used_on)
        attempts.append((event.n, message.attempt))
        if event.n == 2:
            raise Permanent("no such greeting")
        if event.n == 3 and message.attempt == 1:
            raise Transient("not today")
        return [Greeted(n=event.n), Greeted(n=event.n)]

    await publish(world, 1, 2, 3)
    with caplog.at_level(logging.WARNING):
        async with consuming(world, handle) as consumer:
            [dead_letter] = await all_dead(world)
            await until(lambda: len(attempts) == 4)
            await until(lambda: settled(world))
    outputs = [body for body in await world.bodies("greeted") if body != DECOY]
    assert sorted(outputs) == [b'{"n":1,"text":""}'] * 2 + [b'{"n":3,"text":""}'] * 2
    assert dead_letter["data"] == {"n": 2}
    assert sorted(attempts) == [(1, 1), (2, 1), (3, 1), (3, 2)]
    expected = 5 if used_on == "greeted" else 1
    assert duplicates(consumer._metrics) == expected
    assert sum("another one has its id" in record.message for record in caplog.records) == expected


async def test_an_outcome_that_an_earlier_delivery_stored_is_stored_once(world: World) -> None:
    """Cover a worker that was killed between the confirmed publish and the ack."""

    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n)

    await publish(world, 1)
    [delivery] = await fetch_some(world.broker)
    identity = Message.from_delivery(delivery.received, JOB).id
    assert await world.broker.publish(Outgoing("greeted", b'{"n":1,"text":""}', identity.msg_id("greeted")))
    await delivery.nak()
    async with consuming(world, handle) as consumer:
        await until(lambda: settled(world))
    assert len(await world.bodies("greeted")) == 1
    assert duplicates(consumer._metrics) == 0


async def test_a_retry_that_arrives_twice_is_one_message_with_one_next_retry(world: World) -> None:
    """Cover a server that was killed while it fired the retry."""
    identity = Identity(JOB, 7, 1)
    ids = []

    async def handle(_event: Greet, message: Message) -> None:
        ids.append((message.id, message.attempt))
        raise Transient("not today")

    headers: dict[str, str] = {Header.ID: str(identity), Header.ATTEMPT: "1", Header.SUBJECT: "greet"}
    for fired in ("first", "second"):
        await world.broker.publish(Outgoing(fire_subject(JOB), b'{"n":1}', fired, headers))
    async with consuming(world, handle, retry_step_s=3600):
        await until(lambda: len(ids) == 2)
        await until(lambda: settled(world))
    assert ids == [(identity, 2)] * 2
    assert len(await world.bodies(waiting_subject(JOB, str(identity)))) == 1


@dataclass
class Unconfirmed:
    """Broker whose first answers are lost or are refusals."""

    world: World
    failures: list[type[BrokerUnavailable]]
    stored: bool
    tried: list[str] = field(default_factory=list)
    max_payload: int = 1024

    async def fetch(self, _most: int) -> Any:
        return []

    async def publish(self, outgoing: Outgoing) -> bool:
        self.tried.append(outgoing.msg_id)
        if not self.failures:
            return await self.world.broker.publish(outgoing)
        if self.stored:
            await self.world.broker.publish(outgoing)
        raise self.failures.pop(0)("away")


async def store(broker: Unconfirmed) -> EventMetrics:
    metrics = EventMetrics(JOB, JobSettings())
    publisher = Publisher(broker, metrics, Backoff(max_s=0.01), Shutdown(grace_s=1))
    await publisher.store(Outgoing("greeted", b"{}", "id"), may_be_stored=False)
    return metrics


@pytest.mark.parametrize("stored", [True, False])
async def test_a_message_whose_confirmation_was_lost_is_stored_once(world: World, stored: bool) -> None:
    broker = Unconfirmed(world, [NotConfirmed, BrokerUnavailable, NotConfirmed], stored)
    metrics = await store(broker)
    assert await world.bodies("greeted") == [b"{}"]
    assert (set(broker.tried), duplicates(metrics)) == ({"id"}, 0)


async def test_a_refusal_does_not_make_somebody_elses_message_ours(world: World) -> None:
    await world.broker.publish(Outgoing("greeted", DECOY, "id"))
    broker = Unconfirmed(world, [BrokerUnavailable, BrokerUnavailable], stored=False)
    metrics = await store(broker)
    assert await world.bodies("greeted") == [DECOY, b"{}"]
    assert duplicates(metrics) == 1
