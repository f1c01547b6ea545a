"""The login of people on call does what the runbook says with NATS, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

from typer.testing import CliRunner, Result

from keda_jobs.cli import app
from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.domain.subjects import BACKUP_STREAM, DELAYED_STREAM, LONG_STREAM, STREAM, STREAMS
from stack import NatsServer, until
from stack.jobs import ROOT

from .conftest import Login
from .secrets_tool import JOBS, by_name, content
from .test_rights import STREAM_REQUESTS, reading, violations

READS = [
    *(f"$JS.API.{verb}.{stream}" for verb in ("STREAM.INFO", "DIRECT.GET") for stream in (*STREAMS, LONG_STREAM)),
    f"$JS.API.CONSUMER.LIST.{STREAM}",
    *(f"$JS.API.STREAM.{verb}.{BACKUP_STREAM}" for verb in ("INFO", "MSG.GET")),
]
DELETES = [f"$JS.API.STREAM.MSG.DELETE.{stream}" for stream in (STREAM, DELAYED_STREAM)]
REPLAYS = ["image-download", "image-downloaded", *(f"retry.fire.{job}" for job in JOBS)]


def run(server: NatsServer, made: dict[str, Any], command: str) -> Result:
    """Run a command of the CLI as the operator."""
    login = content(by_name(made)["nats-operator"])
    return CliRunner(env={"NATS_URL": server.url, **login}).invoke(app, command.split())


async def store_dead_letters(login: Login, number: int) -> list[int]:
    """Store dead letters as image-download, and return their numbers."""
    async with login("image-download") as client:
        found = []
        for each in range(number):
            event = json.dumps({"url": f"https://a/{each}.png"}).encode()
            identity = Identity("image-download", 1, each)
            message = Message("image-download", event, {}, identity, 15, 1, datetime.now(UTC))
            dead = dead_letter(message, "image-download", Dead("503", "HttpUnavailable"), 10**6, datetime.now(UTC))
            stored = await client.jetstream().publish(dead.subject, dead.data, headers=dict(dead.headers))
            found.append(stored.seq)
        return found


async def test_the_operator_may_do_what_its_commands_need_and_nothing_else(
    server: NatsServer, made: dict[str, Any]
) -> None:
    secret = content(by_name(made)["nats-operator"])
    mine = [*READS, *DELETES, *REPLAYS]
    assert await violations(server, secret, mine, ["_INBOX_operator.>"]) == set()
    publish = [
        *(request for job in JOBS for request in reading(f"{job}-consumer")),
        *reading("new-consumer"),
        *(request for request in STREAM_REQUESTS if request not in mine),
        f"$JS.API.CONSUMER.CREATE.{STREAM}",
        *(f"retry.{kind}.{job}.1" for kind in ("wait", "fire", "due") for job in JOBS),
        *("dead-letter", "retry.fire.unknown", "$SYS.REQ.SERVER.PING.VARZ", "$SYS.REQ.SERVER.X.RELOAD"),
    ]
    others = [*JOBS, "admin", "exporter", "publisher"]
    subscribe = [">", "_INBOX.>", "dead-letter", *REPLAYS, "$JS.>", *(f"_INBOX_{other}.>" for other in others)]
    assert await violations(server, secret, publish, subscribe) == {name.lower() for name in [*publish, *subscribe]}


def test_the_operator_lists_replays_and_purges_dead_letters(
    server: NatsServer, login: Login, made: dict[str, Any]
) -> None:
    first, second, third, _ = asyncio.run(store_dead_letters(login, 4))
    for command, shown in (
        ("status", "image-download-consumer"),
        ("streams show", "retry.wait.>"),
        (f"streams apply --dry-run --jobs {ROOT}/jobs", "nothing to change"),
        ("dlq count", "HttpUnavailable"),
        ("dlq ls --job image-download --newer-than 1h", "4 dead letters"),
        (f"dlq show {first}", "https://a/0.png"),
        (f"dlq replay {first}", "1 dead letter replayed"),
        (f"dlq replay {second} --to-subject", "1 dead letter replayed"),
        (f"dlq purge {third} --yes", "1"),
        ("dlq purge --error-class HttpUnavailable --yes", "1"),
    ):
        ended = run(server, made, command)
        assert (ended.exit_code, shown in ended.output) == (0, True), (command, ended.output)
    assert asyncio.run(subjects(login)) == {"retry.due.image-download": 1, "image-download": 1}


async def subjects(login: Login) -> dict[str, int]:
    """Count the messages of the events stream by subject, once the replayed one has come back."""
    async with login("admin") as admin:

        async def found() -> dict[str, int]:
            info = await admin.jetstream().stream_info(STREAM, subjects_filter=">")
            return info.state.subjects or {}

        async def has_come() -> bool:
            return "retry.due.image-download" in await found()

        await until(has_come)
        return await found()


def test_what_the_operator_may_not_is_one_line(server: NatsServer, login: Login, made: dict[str, Any]) -> None:
    asyncio.run(store_dead_letters(login, 1))
    ended = run(server, made, "dlq purge --all --yes")
    assert ended.exit_code == 1
    assert re.search(r"permissions violation for publish to \"\$js\.api\.stream\.purge", ended.output, re.IGNORECASE)
