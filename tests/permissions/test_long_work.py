"""A long job's user may report and see its own cancellations. The operator may read reports and cancel."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import nats_users
from keda_jobs.domain.event import Event
from keda_jobs.domain.subjects import LONG_STREAM, STREAM
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.streams import apply
from keda_jobs.long import LongContext, LongJob, LongSettings, watch
from keda_jobs.long.main import work
from keda_jobs.runtime.process import Process
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until
from stack.streams import declaration_for

from .secrets_tool import NOTHING, by_name, content, made_of, settings_of
from .test_operator import run
from .test_rights import reading, violations

JOB = "encoder"


class Encode(Event, subject="encode"):
    """Event without fields."""


async def encode(_event: Encode, _job: LongContext) -> None:
    await asyncio.Event().wait()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make the users of a platform whose jobs are long."""
    jobs = [LongJob(name, LongSettings, encode, Encode) for name in (JOB, "other")]
    monkeypatch.setattr(nats_users, "all_jobs", lambda: jobs)
    monkeypatch.setattr(nats_users, "jobs_of", lambda kind: [job for job in jobs if isinstance(job, kind)])
    return made_of(NOTHING)


async def test_a_long_job_and_the_operator_can_do_their_work(
    empty_server: NatsServer, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watch, "EVERY_S", 0.1)
    async with connect(NatsSettings(**settings_of(empty_server, made, "admin")), name="admin", wait=False) as admin:
        await apply(admin, declaration_for({JOB: "encode"}))
        await admin.jetstream.publish("encode", b"{}")
        settings = LongSettings(**settings_of(empty_server, made, JOB), http_port=0)
        process = asyncio.create_task(work(Process(JOB, settings), encode, None))

        async def shown() -> list[dict[str, Any]]:
            status = await asyncio.to_thread(run, empty_server, made, "status --json")
            found: list[dict[str, Any]] = json.loads(status.stdout)["long_work"]
            return found

        [running] = await until(shown)
        ended = await asyncio.to_thread(run, empty_server, made, f"cancel {JOB} {running['id']}")
        assert ended.exit_code == 0, ended.output
        await process
    assert "violation" not in caplog.text.lower()


async def test_it_may_not_report_for_another_job_nor_cancel(empty_server: NatsServer, made: dict[str, Any]) -> None:
    publish = [
        *reading("other-consumer"),
        *(f"long.{kind}.other.1" for kind in ("progress", "cancel")),
        f"long.cancel.{JOB}.1",
        f"$JS.API.DIRECT.GET.{LONG_STREAM}",
        f"$JS.API.DIRECT.GET.{LONG_STREAM}.long.cancel.other.1",
        f"$JS.API.DIRECT.GET.{STREAM}",
        f"$JS.API.STREAM.PURGE.{LONG_STREAM}",
    ]
    secret = content(by_name(made)[f"nats-{JOB}"])
    assert await violations(empty_server, secret, publish, ["long.>"]) == {
        name.lower() for name in [*publish, "long.>"]
    }
    operator = content(by_name(made)["nats-operator"])
    refused = [f"long.progress.{JOB}.1", "long.cancel.image-resize.1", f"$JS.API.STREAM.PURGE.{LONG_STREAM}"]
    assert await violations(empty_server, operator, refused, []) == {name.lower() for name in refused}
