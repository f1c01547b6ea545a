"""JetStream's JSON API as it is on the wire: nats-py's typed calls drop the fields they do not know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream.connection import ANSWER_TIMEOUT_S, NatsConnection

Info = Mapping[str, Any]
"""Info of a stream or a consumer, as the server sends it."""

CONSUMER_NOT_FOUND = 10014
STREAM_NOT_FOUND = 10059
_DISABLED = (10039, 10076)


class ApiError(BrokerUnavailable):
    """The server refuses a request. `code` is JetStream's number for the reason."""

    def __init__(self, verb: str, code: int, description: str) -> None:
        super().__init__(f"NATS refuses {verb}: {description}")
        self.verb = verb
        self.code = code
        self.description = description


class StreamMissing(ApiError):
    """The stream does not exist."""

    def __str__(self) -> str:
        stream = next(part for part in self.verb.split(".") if not part.isupper())
        return f"there is no stream {stream} on this server: make it with `keda-jobs streams apply`"


async def request(connection: NatsConnection, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Send a request to `$JS.API.<verb>`, and return the answer.

    Raises `ApiError` when the server refuses, `Misconfigured` when it has no JetStream, and `BrokerUnavailable`
    when it does not answer.
    """
    question = json.dumps(body).encode() if body is not None else b""
    try:
        answer = await connection.client.request(f"$JS.API.{verb}", question, timeout=ANSWER_TIMEOUT_S)
    except NoRespondersError as error:
        raise _no_jetstream() from error
    except NatsError as error:
        raise BrokerUnavailable(f"no answer to {verb}: {connection.reason(error)}") from error
    return check_answer(verb, answer.data)


def check_answer(verb: str, data: bytes) -> dict[str, Any]:
    """Parse the server's answer to `verb`. Raises `ApiError` for a refusal, and `Misconfigured` without JetStream."""
    fields: dict[str, Any] = json.loads(data)
    if "error" in fields:
        raise _refusal(verb, fields["error"])
    return fields


def _refusal(verb: str, error: Info) -> ApiError | Misconfigured:
    code, description = int(error.get("err_code", 0)), str(error.get("description", ""))
    if code in _DISABLED:
        return _no_jetstream()
    kind = StreamMissing if code == STREAM_NOT_FOUND else ApiError
    return kind(verb, code, description)


def _no_jetstream() -> Misconfigured:
    return Misconfigured(
        "this NATS server has JetStream switched off: start it with -js, or with jetstream {} configured"
    )


async def stream_info(connection: NatsConnection, stream: str = STREAM) -> dict[str, Any]:
    """Return the stream's info, with `ts`, the server's own clock. Raises `StreamMissing`."""
    return await request(connection, f"STREAM.INFO.{stream}")


async def server_time(connection: NatsConnection) -> datetime:
    """Return the time by the server's clock, which also stamps messages. Raises `StreamMissing`."""
    return datetime.fromisoformat((await stream_info(connection))["ts"])


async def durable_consumers(connection: NatsConnection) -> list[dict[str, Any]]:
    """Return the info of every durable consumer of the events stream, none where there is no stream.

    Ephemeral consumers are left out: they are readers such as `nats stream view`.
    """
    infos: list[dict[str, Any]] = []
    try:
        while True:
            page = await request(connection, f"CONSUMER.LIST.{STREAM}", {"offset": len(infos)})
            infos += page["consumers"] or []
            if not page["consumers"] or len(infos) >= page["total"]:
                return [info for info in infos if info["config"].get("durable_name")]
    except ApiError as error:
        if error.code in (STREAM_NOT_FOUND, CONSUMER_NOT_FOUND):
            return []
        raise
