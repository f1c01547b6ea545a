from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from keda_jobs.jetstream.replies import AnswerLost, NoRight, Replies

REFUSAL = NatsError('nats: permissions violation for publish to "order"')


class SilentServer:
    """Client of nats-py whose server answers when the test says so."""

    def __init__(self) -> None:
        self.inboxes: list[str] = []
        self.answer: Callable[[Msg], Awaitable[None]]

    def new_inbox(self) -> str:
        return "_INBOX_shop.1"

    async def subscribe(self, _subject: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self.answer = cb

    async def publish(self, _subject: str, _payload: bytes, reply: str, headers: Any) -> None:
        self.inboxes.append(reply)

    async def confirm(self, number: int) -> None:
        await self.answer(Msg(cast("Client", self), subject=self.inboxes[number]))


async def in_flight(replies: Replies, *subjects: str) -> list[asyncio.Task[Msg]]:
    tasks = [asyncio.create_task(replies.request(subject)) for subject in subjects]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture
def server() -> SilentServer:
    return SilentServer()


@pytest.fixture
def replies(server: SilentServer) -> Replies:
    return Replies(cast("Client", server), 3600)


async def test_a_refusal_ends_the_waits_of_its_subject_and_no_other(server: SilentServer, replies: Replies) -> None:
    refused, other = await in_flight(replies, "Order", "other")
    replies.note_refusal(REFUSAL)
    with pytest.raises(NoRight):
        await refused
    await server.confirm(1)
    assert (await other).subject == server.inboxes[1]


async def test_a_message_sent_before_the_right_was_lost_waits_for_its_answer(
    server: SilentServer, replies: Replies
) -> None:
    tasks = await in_flight(replies, "order", "order", "order")
    replies.note_refusal(REFUSAL)
    replies.note_refusal(REFUSAL)
    await asyncio.sleep(0)
    assert not any(task.done() for task in tasks)
    await server.confirm(0)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [Msg, NoRight, NoRight]
    (again,) = await in_flight(replies, "order")
    assert not again.done()
    await server.confirm(3)
    await again


async def test_what_is_in_flight_is_lost_with_the_connection(replies: Replies) -> None:
    tasks = await in_flight(replies, "order", "other")
    replies.interrupt()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [AnswerLost, AnswerLost]
