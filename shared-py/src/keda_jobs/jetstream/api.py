"""JetStream's JSON API as it is on the wire: nats-py's typed calls drop the fields they do not know."""

from __future__ import annotations

import json
from typing import Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream.connection import CONFIRM_S

CONSUMER_NOT_FOUND = 10014
MESSAGE_NOT_FOUND = 10037
STREAM_NOT_FOUND = 10059
_DISABLED = (10039, 10076)


class ApiError(BrokerUnavailable):
    """The server refuses a request; `code` is JetStream's number for the reason."""

    def __init__(self, verb: str, code: int, description: str) -> None:
        super().__init__(f"NATS refuses {verb}: {description}")
        self.code = code
        self.description = description


class StreamMissing(ApiError):
    """The stream is not there yet."""

    def __str__(self) -> str:
        return f"there is no stream {STREAM} on this server: make it with `keda-jobs streams apply`"


async def ask(client: Client, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The answer to `$JS.API.<verb>`.

    Raises `ApiError` when the server refuses, `Misconfigured` when it has no JetStream, and `BrokerUnavailable`
    when it does not answer.
    """
    try:
        question = json.dumps(body).encode() if body is not None else b""
        answer = await client.request(f"$JS.API.{verb}", question, timeout=CONFIRM_S)
    except NoRespondersError as error:
        raise _no_jetstream() from error
    except NatsError as error:
        raise BrokerUnavailable(f"no answer to {verb}: {why(client, error)}") from error
    fields: dict[str, Any] = json.loads(answer.data)
    if "error" in fields:
        raise _refusal(verb, fields["error"])
    return fields


def why(client: Client, error: BaseException) -> str:
    """The reason in words; a missing right shows as a timeout, and the server's word on it stands beside it."""
    text = str(client.last_error or error).removeprefix("nats: ")
    return text or type(error).__name__


def _refusal(verb: str, error: dict[str, Any]) -> ApiError | Misconfigured:
    code, description = int(error.get("err_code", 0)), str(error.get("description", ""))
    if code in _DISABLED:
        return _no_jetstream()
    kind = StreamMissing if code == STREAM_NOT_FOUND else ApiError
    return kind(verb, code, description)


def _no_jetstream() -> Misconfigured:
    return Misconfigured(
        "this NATS server has JetStream switched off: start it with -js, or with jetstream {} configured"
    )


async def stream_info(client: Client) -> dict[str, Any]:
    """The stream's info, with `ts`, the server's own clock. Raises `StreamMissing`."""
    return await ask(client, f"STREAM.INFO.{STREAM}")
