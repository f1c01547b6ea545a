"""A job whose handler returns events for later may have NATS publish these later, and no others at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import nats_users
from keda_jobs import Context, JobSettings, Later, later
from keda_jobs.domain.event import Event
from keda_jobs.domain.subjects import DELAYED_STREAM
from keda_jobs.event.job import EventJob
from keda_jobs.event.main import consume
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.reader import read_all
from keda_jobs.jetstream.streams import apply
from keda_jobs.runtime.process import Process
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until
from stack.streams import declaration_for

from .secrets_tool import NOTHING, by_name, content, made_of, settings_of
from .test_rights import violations

JOB = "invoicer"


class Invoice(Event, subject="invoice"):
    """Event without fields."""


class Remind(Event, subject="remind"):
    """Event that is sent later only."""


class Sent(Event, subject="sent"):
    """Event that is sent at once only."""


async def invoice(_event: Invoice, _job: Context) -> list[Sent | Later[Remind]]:
    return [Sent(), later(Remind(), 1)]


async def print_out(_event: Invoice, _job: Context) -> Sent:
    return Sent()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Make the users of a platform with one job that sends for later, and one that does not."""
    jobs = [EventJob(JOB, JobSettings, invoice, Invoice), EventJob("printer", JobSettings, print_out, Invoice)]
    monkeypatch.setattr(nats_users, "all_jobs", lambda: jobs)
    monkeypatch.setattr(nats_users, "jobs_of", lambda kind: [job for job in jobs if isinstance(job, kind)])
    return made_of(NOTHING)


async def test_its_events_for_later_arrive(
    empty_server: NatsServer, made: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async with connect(NatsSettings(**settings_of(empty_server, made, "admin")), name="admin", wait=False) as admin:
        await apply(admin, declaration_for({JOB: "invoice"}, ["remind", "sent"]))
        await admin.jetstream.publish("invoice", b"{}")
        process = Process(JOB, JobSettings(**settings_of(empty_server, made, JOB), http_port=0))
        running = asyncio.create_task(consume(process, invoice, None))

        async def reminded() -> list[str]:
            return [message.headers["Nats-Scheduler"] async for message in read_all(admin, "remind")]

        [scheduler] = await until(reminded)
        assert scheduler.startswith(f"delay.wait.job.{JOB}.")
        assert len([message async for message in read_all(admin, "sent")]) == 1
        process.shutdown.request()
        await running
    assert "violation" not in caplog.text.lower()


async def test_it_reaches_no_schedule_of_others_by_its_subject(empty_server: NatsServer, made: dict[str, Any]) -> None:
    secret = content(by_name(made)[f"nats-{JOB}"])
    publish = [
        *("delay.wait.sent.1", "delay.wait.job.printer.1", f"delay.wait.declared.{JOB}.nightly", "delay.wait.1"),
        *("delay.fire.remind", "delay.fire.sent", "remind"),
        *(f"$JS.API.STREAM.{verb}.{DELAYED_STREAM}" for verb in ("MSG.DELETE", "PURGE", "MSG.GET", "INFO")),
        f"$JS.API.DIRECT.GET.{DELAYED_STREAM}",
    ]
    assert await violations(empty_server, secret, publish, ["delay.>"]) == {*map(str.lower, publish), "delay.>"}


async def test_a_job_that_sends_nothing_for_later_may_delay_nothing(
    empty_server: NatsServer, made: dict[str, Any]
) -> None:
    secret = content(by_name(made)["nats-printer"])
    publish = [f"delay.wait.{sender}.1" for sender in ("job.printer", f"job.{JOB}", "sent", "declared.printer")]
    assert await violations(empty_server, secret, publish, []) == {*publish}
