"""`keda-jobs status`."""

from __future__ import annotations

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.delay import delayed
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import STREAMS
from keda_jobs.event.job import EventJob
from keda_jobs.status import dead_letters, delayed_events, stream
from stack import NatsServer, job_names
from stack.jobs import ROOT

from .conftest import STREAM, Cli, Server

CONSUMERS = [f"{job}-consumer" for job in job_names(EventJob)]


def schedule(server: Server, job: str, *delays_s: float) -> None:
    for number, delay_s in enumerate(delays_s):
        message = Message("image-download", b"{}", {}, Identity(job, number + 1, 1), 1, number, datetime.now(UTC))
        retry = scheduled_retry(message, job, delay_s, datetime.now(UTC))
        server.publish(retry.subject, retry.data, dict(retry.headers))


SCHEDULE = {"Nats-Schedule-Target": "delay.fire.image-download"}


def delay(server: Server, *delays_s: float) -> None:
    for number, delay_s in enumerate(delays_s):
        event = Outgoing("image-download", b"{}", f"event-{number}")
        later = delayed(event, datetime.now(UTC) + timedelta(seconds=delay_s))
        server.publish(later.subject, later.data, dict(later.headers))


def test_an_empty_stream(cli: Cli, server: Server) -> None:
    found = cli("status", "--json").json

    empty = {"messages": 0, "bytes": 0, "first_time": None, "last_time": None, "replicas_behind": 0, "max_bytes": None}
    kept = {STREAM: timedelta(days=14).total_seconds()}
    assert found["streams"] == [{"name": name, **empty, "max_age_s": kept.get(name)} for name in STREAMS]
    assert {one["name"]: one["lag"] for one in found["consumers"]} == dict.fromkeys(CONSUMERS, 0)
    assert found["waiting_retries"] == []
    assert found["delayed_events"] == {"count": 0, "overdue": 0, "next_due": None, "is_exact": True}
    assert found["dead_letters"] == {"total": 0, "by_job": {}, "is_exact": True}
    shown = cli("status").stdout
    assert f"{STREAM}: 0 messages" in shown
    assert "events for later" not in shown


def test_nats_need_not_list_the_subject_of_each_retry(cli: Cli, server: Server) -> None:
    """That takes it six seconds with a million retries."""
    schedule(server, "image-download", 3600)

    async def listen(client: Client) -> list[bytes]:
        requests = await client.subscribe("$JS.API.STREAM.INFO.>")
        await client.flush()
        assert (await asyncio.to_thread(cli, "status", "--json")).json["waiting_retries"][0]["count"] == 1
        await client.flush()
        return [(await requests.next_msg()).data for _ in range(requests.pending_msgs)]

    heard = server.do(listen)
    assert heard
    assert not [question for question in heard if b"subjects_filter" in question]


def test_lag_is_pending_plus_in_flight(cli: Cli, server: Server) -> None:
    for _ in range(3):
        server.publish("image-download", b"{}")

    async def take_one(client: Client) -> Any:
        pull = await client.jetstream().pull_subscribe_bind(consumer="image-download-consumer", stream=STREAM)
        return await pull.fetch(1)

    server.do(take_one)

    found = {one["name"]: one for one in cli("status", "--json").json["consumers"]}
    assert found.pop("image-download-consumer") == {
        "name": "image-download-consumer",
        "lag": 3,
        "num_pending": 2,
        "num_ack_pending": 1,
        "num_waiting": 0,
        "num_redelivered": 0,
        "delivered": 1,
        "last_ack": None,
    }
    assert {one["lag"] for one in found.values()} == {0}


def test_waiting_retries_are_counted_by_job_with_the_next_due(cli: Cli, server: Server) -> None:
    schedule(server, "image-download", 7200, 600, 3600)
    schedule(server, "image-resize", 90)

    found = cli("status", "--json").json

    download, resize = found["waiting_retries"]
    assert (download["job"], download["count"], download["is_exact"]) == ("image-download", 3, True)
    assert (resize["job"], resize["count"]) == ("image-resize", 1)
    now = datetime.fromisoformat(found["time"])
    assert timedelta(seconds=590) < datetime.fromisoformat(download["next_due"]) - now <= timedelta(seconds=600)
    assert {one["lag"] for one in found["consumers"]} == {0}, "a waiting retry must not keep a pod"
    row = next(line for line in cli("status").stdout.splitlines() if line.startswith("image-download "))
    assert row.split() == ["image-download", "3", "in", "9m", "0"]


def test_events_for_later_are_counted_with_the_next_due(cli: Cli, server: Server) -> None:
    delay(server, 7200, 600)
    server.publish("delay.wait.sent.daily", b"{}", SCHEDULE | {"Nats-Schedule": "@every 24h"})

    found = cli("status", "--json").json

    later = found["delayed_events"]
    assert (later["count"], later["overdue"], later["is_exact"]) == (3, 0, True)
    now = datetime.fromisoformat(found["time"])
    assert timedelta(seconds=590) < datetime.fromisoformat(later["next_due"]) - now <= timedelta(seconds=600)
    assert {one["lag"] for one in found["consumers"]} == {0}, "an event for later must not keep a pod"
    assert "events for later: 3, the next due in 9m\n" in cli("status").stdout


def test_an_event_is_overdue_when_nats_has_not_published_it_in_time(
    cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delayed_events, "LATE", timedelta(0))
    server.publish("delay.fire.read-by-nobody", b"{}")

    found = cli("status", "--json").json["delayed_events"]

    assert (found["count"], found["overdue"]) == (1, 1)
    assert datetime.fromisoformat(found["next_due"]) < datetime.now(UTC)
    assert "events for later: 1, the next due now, 1 overdue" in cli("status").stdout


def test_events_that_were_published_and_are_left_behind_are_not_counted(cli: Cli, server: Server) -> None:
    """After a crash NATS may leave them, so the stream is one here whose events stay."""
    staying = {"retention": "limits", "consumer_limits": {}}
    for file, change in (("stream-delayed.json", staying), ("stream.json", {})):
        config = json.loads((ROOT / "jobs" / file).read_text())
        server.api(f"STREAM.DELETE.{config['name']}")
        server.api(f"STREAM.CREATE.{config['name']}", config | change)
    for _ in range(3):
        server.publish("delay.fire.image-download", b"{}")
    server.wait_for(lambda: server.count("image-download") == 3)
    server.publish("image-download", b"{}")

    assert cli("status", "--json").json["delayed_events"]["count"] == 0
    server.publish("delay.fire.read-by-nobody", b"{}")
    assert cli("status", "--json").json["delayed_events"]["count"] == 1


def test_dead_letters_are_counted_by_job(cli: Cli, server: Server) -> None:
    server.bury([b"{}"] * 2)
    server.bury([b"{}"], job="image-resize")
    server.publish("dead-letter", b"foreign")

    counts = cli("status", "--json").json["dead_letters"]

    assert counts == {"total": 4, "by_job": {"image-download": 2, "image-resize": 1, "": 1}, "is_exact": True}
    assert "(none named)" in cli("status").stdout


def test_beyond_its_limits_it_says_that_it_is_not_exact(
    cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_SCHEDULES", 2)
    monkeypatch.setattr(dead_letters, "MAX_DEAD_LETTERS", 2)
    schedule(server, "image-download", 7200, 3600, 600)
    monkeypatch.setattr(delayed_events, "MAX_SCHEDULES", 2)
    delay(server, 7200, 3600, 600)
    server.bury([b"{}"] * 3)

    found = cli("status", "--json").json

    assert found["waiting_retries"][0]["count"] == 3
    assert found["waiting_retries"][0]["is_exact"] is False
    assert (found["delayed_events"]["count"], found["delayed_events"]["is_exact"]) == (3, False)
    assert found["dead_letters"] == {"total": 3, "by_job": {"image-download": 2}, "is_exact": False}
    shown = cli("status").stdout
    assert shown.count("or earlier") == 2
    assert "≥ 2" in shown


def test_without_a_stream_the_remedy_is_named(cli: Cli, bare_server: Server) -> None:
    del bare_server
    done = cli("status")

    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.endswith("make it with `keda-jobs streams apply`\n")


def test_watch_survives_a_restart_and_ends_cleanly(cli: Cli, server: Server, nats_server: NatsServer) -> None:
    server.publish("image-download", b"{}")
    watch = cli.start("status", "--watch", "--json")
    assert watch.stdout is not None
    assert watch.stderr is not None
    assert json.loads(watch.stdout.readline())["consumers"][0]["lag"] == 1

    nats_server.kill()
    assert "cannot be reached" in watch.stderr.readline()
    nats_server.start()
    assert json.loads(watch.stdout.readline())["consumers"][0]["lag"] == 1

    watch.send_signal(signal.SIGINT)
    done = cli.finish(watch)
    assert done.code == 0
    assert "Traceback" not in done.stderr


def test_a_retry_that_the_events_stream_cannot_take_waits_and_is_due(cli: Cli, server: Server) -> None:
    server.api(f"STREAM.DELETE.{STREAM}")
    server.publish("retry.fire.image-download", b"{}")
    config = json.loads((ROOT / "jobs/stream.json").read_text())
    server.api(f"STREAM.CREATE.{STREAM}", config | {"sources": []})

    [waiting] = cli("status", "--json").json["waiting_retries"]

    assert (waiting["job"], waiting["count"]) == ("image-download", 1)
    assert datetime.fromisoformat(waiting["next_due"]) < datetime.now(UTC)
