"""`keda-jobs cancel`: end a message of a long job."""

from __future__ import annotations

import asyncio
import os
import time
from enum import StrEnum
from typing import Annotated

import typer

from keda_jobs.cli.connection import run
from keda_jobs.cli.options import JsonOption, ServerOption
from keda_jobs.cli.terminal import print_err, print_json
from keda_jobs.domain.identity import Identity
from keda_jobs.jetstream import long_work
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.status.long_work import find_message, is_running

_EVERY_S = 1.0


class State(StrEnum):
    """State of a message that somebody has cancelled."""

    ENDED = "ended"
    RUNNING = "running"
    NOT_RUNNING = "not running"


_TEXTS = {
    State.ENDED: "{} is cancelled: its handler has ended, and it is a dead letter unless it was done before",
    State.RUNNING: "{} is cancelled, but still runs after {:g} s; see the log of its pod",
    State.NOT_RUNNING: "{} is cancelled: no pod works on it now. The next one makes it a dead letter",
}


def cancel(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Long job.")],
    name: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the message as in `status`, or its number in the stream.")
    ],
    wait_s: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, max=3600, help="How long to wait for the end.")
    ] = 30,
    json_: JsonOption = False,
    server: ServerOption = None,
) -> None:
    """Cancel one message of a long job. It becomes a dead letter, `Cancelled`, with who did it.

    A pod that works on it ends its handler within seconds. One that waits, or waits for a retry, becomes a dead letter
    when a pod takes it, and its handler does not run. What has ended already stays as it is. `keda-jobs dlq replay`
    undoes it.

    Examples:

    - `keda-jobs cancel video-encode video-encode-17-1764230400000000000`

    - `keda-jobs cancel video-encode 17`

    JSON: `{"job", "id", "state"}`; `state` is `ended`, `running` (exit code 1) or `not running`.
    """
    message, state = run(server, lambda connection: _cancel(connection, job, name, wait_s))
    if json_:
        print_json({"job": job, "id": str(message), "state": state})
    else:
        print_err(_TEXTS[state].format(message, wait_s))
    if state is State.RUNNING:
        raise typer.Exit(1)


async def _cancel(connection: NatsConnection, job: str, name: str, wait_s: float) -> tuple[Identity, State]:
    """Cancel a message, and wait for the end of its handler. Raises `NoSuchMessage`, `BrokerUnavailable`."""
    message = await find_message(connection, job, name)
    ran = await is_running(connection, message)
    await long_work.cancel(connection, message, _user())
    deadline = time.monotonic() + wait_s
    while ran and await is_running(connection, message):
        if time.monotonic() > deadline:
            return message, State.RUNNING
        await asyncio.sleep(_EVERY_S)
    return message, State.ENDED if ran else State.NOT_RUNNING


def _user() -> str:
    return os.environ.get("USER") or f"user {os.getuid()}"
