"""Loop of an event job on a broker, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.event import Event
from keda_jobs.domain.message import Message
from keda_jobs.event.consumer import Consumer
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.event.runner import Runner
from keda_jobs.runtime.process import Process
from keda_jobs.runtime.spans import OFF, Tracer
from keda_jobs.settings import JobSettings
from stack import until

from .conftest import ACK_WAIT_S, JOB, World, decode_all


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
    consumer = Consumer(process, world.broker, runner, EventMetrics(JOB, settings))
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
