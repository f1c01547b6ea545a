"""Pull requests: a late answer does not wait for the next one, and no answer is an error."""

from __future__ import annotations

from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.errors import TimeoutError as NatsTimeoutError

from keda_jobs.domain.headers import Headers
from keda_jobs.jetstream import pull as module
from keda_jobs.jetstream.pull import Pull, PullRefused


class Server:
    """Server that answers each request with the messages of `answers`, in this order."""

    def __init__(self, *answers: list[Msg]) -> None:
        self.answers = list(answers)
        self.requests = 0
        self.pull = Pull(self, "stream", "consumer", "_INBOX.x")  # type: ignore[arg-type]

    async def publish(self, _subject: str, _request: bytes, reply: str) -> None:
        self.requests += 1
        for message in self.answers.pop(0):
            message.subject = message.subject or reply
            await self.pull._receive(message)

    async def flush(self, **_: int) -> None:
        """Answer a ping."""


def event(n: int) -> Msg:
    return Msg(_client=None, subject="greet", data=b"%d" % n)  # type: ignore[arg-type]


def status(line: str) -> Msg:
    """Return an answer on the request's own inbox."""
    return Msg(_client=None, headers=Headers.parse(f"NATS/1.0 {line}\r\n\r\n".encode()))  # type: ignore[arg-type]


def bodies(messages: list[Msg]) -> list[Any]:
    return [int(message.data) for message in messages]


async def test_a_late_answer_is_handed_over_at_once() -> None:
    server = Server([event(1), event(2), event(3), event(4)], [event(5), status("408 Request Timeout")])
    assert bodies(await server.pull.fetch(1, 1)) == [1, 2, 3, 4]
    assert bodies(await server.pull.fetch(3, 1)) == [5]


async def test_a_request_without_any_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_S", 0.01)
    with pytest.raises(NatsTimeoutError):
        await Server([]).pull.fetch(1, 0.01)


async def test_a_lost_connection_ends_a_request_without_an_error() -> None:
    server = Server([])

    async def lose(_subject: str, _request: bytes, reply: str) -> None:
        assert reply
        server.pull.interrupt()

    server.publish = lose  # type: ignore[method-assign]
    assert await server.pull.fetch(1, 60) == []


@pytest.mark.parametrize("line", ["404 No Messages", "408 Request Timeout", "408"])
async def test_no_messages_are_no_error(line: str) -> None:
    assert await Server([status(line)]).pull.fetch(1, 1) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("503", "no responders: no such consumer, or JetStream is away"),
        ("503\r\nNats-Subject: $JS.API.x", "no responders: no such consumer, or JetStream is away"),
        ("409 Consumer Deleted", "Consumer Deleted"),
        ("409", "409"),
    ],
)
async def test_a_refusal_says_why(line: str, reason: str) -> None:
    with pytest.raises(PullRefused, match=f"^{reason}$"):
        await Server([status(line)]).pull.fetch(1, 1)


async def test_an_event_with_a_status_in_its_headers_is_an_event() -> None:
    hostile = event(1)
    hostile.headers = Headers.parse(b"NATS/1.0\r\nStatus: 503\r\n\r\n")
    assert bodies(await Server([hostile]).pull.fetch(1, 1)) == [1]
