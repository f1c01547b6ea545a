"""The consumer of a long job: one message, then the end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from keda_jobs.domain.broker import Delivery
from keda_jobs.domain.message import Message
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.long import LongSettings
from keda_jobs.long.main import OneMessage
from keda_jobs.runtime.process import Process
from keda_jobs.settings import JobSettings

from .conftest import ACK_WAIT_S, JOB, World
from .consuming import Greet, Greeted, Handle, publish


def one_message(world: World, handle: Handle, **changes: Any) -> tuple[OneMessage, Process[JobSettings]]:
    settings = LongSettings(**({"ack_wait_s": ACK_WAIT_S} | changes))
    process: Process[JobSettings] = Process(JOB, settings)
    runner = Runner(Greet, handle, lambda message: message, settings.handler_timeout_s)
    return OneMessage(process, world.broker, runner, EventMetrics(JOB, settings)), process


async def test_it_works_on_one_message_and_ends(world: World) -> None:
    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n)

    await publish(world, 1, 2, 3)
    consumer, _ = one_message(world, handle)
    await consumer.run()
    assert len(await world.bodies("greeted")) == 1
    assert await world.lag() == (2, 0)


async def test_it_ends_where_there_is_no_message(world: World) -> None:
    async def handle(_event: Greet, _message: Message) -> None:
        pytest.fail("there is no message")

    consumer, process = one_message(world, handle)
    await consumer.run()
    assert not process.shutdown.requested


async def test_it_does_not_mistake_an_unavailable_server_for_no_message(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, tries = world.broker.fetch, []

    async def fail_at_first(most: int) -> Sequence[Delivery]:
        tries.append(most)
        if len(tries) == 1:
            raise BrokerUnavailable("NATS is away")
        return await fetch(most)

    async def handle(event: Greet, _message: Message) -> Greeted:
        return Greeted(n=event.n)

    monkeypatch.setattr(world.broker, "fetch", fail_at_first)
    await publish(world, 1)
    consumer, _ = one_message(world, handle)
    await consumer.run()
    assert tries == [1, 1]
    assert len(await world.bodies("greeted")) == 1


async def test_a_stop_gives_the_message_back_after_the_grace(world: World) -> None:
    started = asyncio.Event()

    async def handle(_event: Greet, _message: Message) -> None:
        started.set()
        await asyncio.Event().wait()

    await publish(world, 1)
    consumer, process = one_message(world, handle, shutdown_grace_s=0.2)
    running = asyncio.create_task(consumer.run())
    await started.wait()
    process.shutdown.request()
    await running
    [again] = await world.broker.fetch(1)
    assert again.received.num_delivered == 2
