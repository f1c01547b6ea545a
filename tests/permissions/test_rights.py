"""Every user is refused what it does not need, and nobody logs in without a password."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import nats
import pytest

from keda_jobs.domain.subjects import BACKUP_STREAM, LONG_STREAM, STREAM, STREAMS
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import connect
from keda_jobs.settings import NatsSettings
from stack import JobProcess, NatsServer, until
from stack.jobs import ROOT

from .conftest import Login
from .secrets_tool import JOBS, by_name, content


def reading(consumer: str) -> list[str]:
    """List the requests that read, change or imitate a consumer."""
    return [
        f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{consumer}",
        f"$JS.ACK.{STREAM}.{consumer}.1.1.1.1.1",
        f"$JS.API.CONSUMER.INFO.{STREAM}.{consumer}",
        f"$JS.API.CONSUMER.DELETE.{STREAM}.{consumer}",
        f"$JS.API.CONSUMER.CREATE.{STREAM}.{consumer}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{consumer}",
    ]


_STREAM_VERBS = ("CREATE", "UPDATE", "DELETE", "PURGE", "INFO", "MSG.GET", "MSG.DELETE", "SNAPSHOT", "RESTORE")
STREAM_REQUESTS = [
    *(f"$JS.API.STREAM.{verb}.{stream}" for verb in _STREAM_VERBS for stream in STREAMS),
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    *(f"$JS.API.{verb}.{stream}" for verb in ("DIRECT.GET", "CONSUMER.LIST") for stream in STREAMS),
    *(f"$JS.API.CONSUMER.CREATE.{stream}" for stream in STREAMS[1:]),
    *(f"$JS.API.STREAM.{verb}.{stream}" for verb in _STREAM_VERBS for stream in (BACKUP_STREAM, LONG_STREAM)),
    f"$JS.API.DIRECT.GET.{LONG_STREAM}",
    *(f"long.{kind}.image-resize.1" for kind in ("progress", "cancel")),
    "backup.started",
    "backup.complete",
]


async def violations(server: NatsServer, secret: dict[str, str], publish: list[str], subscribe: list[str]) -> set[str]:
    """Return the subjects that the server refuses to this user."""
    refused: set[str] = set()

    async def heard(error: Exception) -> None:
        found = re.search(r'permissions violation for (?:publish|subscription) to "(.+?)"', str(error), re.IGNORECASE)
        assert found, error
        refused.add(found[1].lower())

    client = await nats.connect(server.url, user=secret["NATS_USER"], password=secret["NATS_PASSWORD"], error_cb=heard)
    for subject in publish:
        await client.publish(subject, b"{}")
    for subject in subscribe:
        await client.subscribe(subject)
    # Nobody may publish this, and the server refuses in the order of the requests.
    await client.publish("the.end")
    await until(lambda: "the.end" in refused)
    await client.close()
    return refused - {"the.end"}


@pytest.mark.parametrize("job", JOBS)
async def test_a_job_is_refused_the_subjects_of_others(server: NatsServer, made: dict[str, Any], job: str) -> None:
    others = [other for other in JOBS if other != job]
    declared = json.loads((ROOT / "jobs" / job / "consumer.json").read_text())["filter_subjects"]
    publish = [
        *reading("new-consumer"),
        *(request for other in others for request in reading(f"{other}-consumer")),
        *(request for request in reading(f"{job}-consumer")[2:]),
        *STREAM_REQUESTS,
        *declared,
        *(f"retry.{kind}.{other}.1" for kind in ("wait", "fire", "due") for other in others),
        *(f"retry.{kind}.{name}" for kind in ("fire", "due") for name in JOBS),
        *(f"delay.wait.{sender}.1" for sender in ("sent", f"job.{job}", f"declared.{job}")),
        *(f"_INBOX_{other}.1" for other in others),
        "_INBOX.1",
    ]
    subscribe = [
        ">",
        "_INBOX.>",
        "dead-letter",
        "$JS.>",
        "retry.>",
        *declared,
        *(f"_INBOX_{other}.>" for other in [*others, "admin", "exporter", "operator", "publisher"]),
    ]
    secret = content(by_name(made)[f"nats-{job}"])
    assert await violations(server, secret, publish, subscribe) == {name.lower() for name in [*publish, *subscribe]}


async def test_the_publisher_may_publish_only_what_jobs_read(server: NatsServer, made: dict[str, Any]) -> None:
    secret = content(by_name(made)["nats-publisher"])
    mine = [
        subject
        for job in JOBS
        for subject in json.loads((ROOT / "jobs" / job / "consumer.json").read_text())["filter_subjects"]
        if not subject.startswith("retry.")
    ]
    publish = [
        *(request for job in JOBS for request in reading(f"{job}-consumer")),
        *STREAM_REQUESTS,
        *(f"retry.{kind}.{job}.1" for kind in ("wait", "fire", "due") for job in JOBS),
        *("dead-letter", "delay.wait.sent.1", "delay.fire.image-download"),
    ]
    subscribe = [">", "_INBOX.>", *mine, *(f"_INBOX_{job}.>" for job in [*JOBS, "admin"])]
    assert await violations(server, secret, mine, ["_INBOX_publisher.>"]) == set()
    assert await violations(server, secret, publish, subscribe) == {name.lower() for name in [*publish, *subscribe]}


async def test_the_scheduler_may_publish_what_jobs_read_now_or_later(server: NatsServer, made: dict[str, Any]) -> None:
    secret = content(by_name(made)["nats-scheduler"])
    mine = ["image-download", "image-downloaded", "delay.wait.sent.1"]
    publish = [
        *(request for job in JOBS for request in reading(f"{job}-consumer")),
        *STREAM_REQUESTS,
        *(f"retry.{kind}.{job}.1" for kind in ("wait", "fire", "due") for job in JOBS),
        *("dead-letter", "delay.wait.job.image-resize.1", "delay.wait.sent", "delay.fire.image-download"),
    ]
    subscribe = [">", "_INBOX.>", "delay.>", *mine, *(f"_INBOX_{job}.>" for job in [*JOBS, "admin", "publisher"])]
    assert await violations(server, secret, mine, ["_INBOX_scheduler.>"]) == set()
    assert await violations(server, secret, publish, subscribe) == {name.lower() for name in [*publish, *subscribe]}


async def test_the_exporter_may_only_read(server: NatsServer, made: dict[str, Any]) -> None:
    secret = content(by_name(made)["nats-exporter"])
    mine = [f"$JS.API.{verb}.{stream}" for verb in ("STREAM.INFO", "DIRECT.GET") for stream in STREAMS]
    mine += [f"$JS.API.CONSUMER.LIST.{STREAM}"]
    mine.append(f"$JS.API.STREAM.MSG.GET.{BACKUP_STREAM}")
    publish = [
        *(request for job in JOBS for request in reading(f"{job}-consumer")),
        *reading("new-consumer"),
        *(request for request in STREAM_REQUESTS if request not in mine),
        f"$JS.API.CONSUMER.CREATE.{STREAM}",
        *(f"retry.{kind}.{job}.1" for kind in ("wait", "fire", "due") for job in JOBS),
        "dead-letter",
        "image-download",
        "backup.complete",
    ]
    subscribe = [">", "_INBOX.>", "dead-letter", "image-download", *(f"_INBOX_{job}.>" for job in [*JOBS, "admin"])]
    assert await violations(server, secret, mine, ["_INBOX_exporter.>"]) == set()
    assert await violations(server, secret, publish, subscribe) == {name.lower() for name in [*publish, *subscribe]}


async def test_the_backup_may_read_and_change_nothing(server: NatsServer, made: dict[str, Any]) -> None:
    secret = content(by_name(made)["nats-backup"])
    documented = (ROOT / "docs/backup.md").read_text().partition("## Rights")[2].partition("```\n")[2]
    mine = documented.partition("```")[0].split()
    asked = [subject.replace(">", "1") for subject in mine]
    publish = [
        *(request for job in JOBS for request in reading(f"{job}-consumer")),
        *reading("new-consumer"),
        *(request for request in STREAM_REQUESTS if request not in mine),
        *(f"$JS.{part}.{STREAM}.1" for part in ("SNAPSHOT.RESTORE", "API.CONSUMER.RESET")),
        *(f"retry.{kind}.{job}.1" for kind in ("wait", "fire", "due") for job in JOBS),
        "dead-letter",
        "image-download",
    ]
    subscribe = [">", "_INBOX.>", "backup.complete", *(f"_INBOX_{job}.>" for job in [*JOBS, "admin"])]
    assert await violations(server, secret, asked, ["_INBOX_backup.>"]) == set()
    assert await violations(server, secret, publish, subscribe) == {name.lower() for name in [*publish, *subscribe]}


def test_the_backup_can_take_one_with_our_cli(server: NatsServer, made: dict[str, Any], tmp_path: Path) -> None:
    ended = subprocess.run(
        ["keda-jobs", "streams", "backup", "--to", str(tmp_path / "backups"), "--keep", "2"],
        env={**os.environ, "NATS_URL": server.url, **content(by_name(made)["nats-backup"])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "no alert" not in ended.stderr


async def test_the_exporter_reads_all_of_its_numbers_as_its_user(
    server: NatsServer, login: Login, made: dict[str, Any], tmp_path: Path
) -> None:
    async with login("publisher") as publisher, login("image-download") as job:
        await publisher.jetstream().publish("image-download", b"{}")
        await job.jetstream().publish("dead-letter", b"{}")
        await job.jetstream().publish("retry.wait.image-download.1", b"{}")
    environment = {
        **server.environment(),
        **content(by_name(made)["nats-exporter"]),
        "NATS_MONITORING_URL": server.monitor_url,
    }
    exporter = JobProcess("exporter", environment, tmp_path / "exporter.log")
    await asyncio.to_thread(exporter.start)
    try:
        lines = await asyncio.to_thread(metrics_of, exporter)
    finally:
        exporter.kill()
    assert 'keda_jobs_scrape_ok{source="nats"} 1.0' in lines
    assert 'keda_jobs_consumer_lag{consumer="image-download-consumer",job="image-download"} 1.0' in lines
    assert 'keda_jobs_waiting_retries{job="image-download"} 1.0' in lines
    assert 'keda_jobs_dead_letters_stored{job="unknown"} 1.0' in lines
    assert "violation" not in exporter.log.read_text().lower()


def metrics_of(exporter: JobProcess) -> list[str]:
    """Read the lines of its metrics."""
    with urllib.request.urlopen(f"{exporter.http_url}/metrics") as answer:
        lines: list[str] = answer.read().decode().splitlines()
    return lines


def test_an_application_can_publish_as_the_publisher_with_our_cli(server: NatsServer, made: dict[str, Any]) -> None:
    ended = subprocess.run(
        ["keda-jobs", "pub", "image-download", '{"url": "https://example.org"}'],
        env={**os.environ, "NATS_URL": server.url, **content(by_name(made)["nats-publisher"])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    "login", [{}, *({"nats_user": user, "nats_password": "guessed"} for user in ("admin", "root"))]
)
async def test_nobody_logs_in_without_the_password(server: NatsServer, login: dict[str, Any]) -> None:
    with pytest.raises(BrokerUnavailable, match="Authorization Violation"):
        async with connect(NatsSettings(nats_url=server.url, **login), name="stranger", wait=False):
            pass


async def test_keda_finds_the_consumers_in_the_default_account(server: NatsServer, login: Login) -> None:
    async with login("publisher") as publisher:
        await publisher.jetstream().publish("image-download", b'{"url": "https://example.org"}')

    def asked() -> Any:
        with urllib.request.urlopen(f"{server.monitor_url}/jsz?acc=$G&consumers=true&config=true") as response:
            return json.load(response)

    [account] = (await asyncio.to_thread(asked))["account_details"]
    [stream] = [stream for stream in account["stream_detail"] if stream["name"] == STREAM]
    assert account["name"] == "$G"
    pending = {consumer["name"]: consumer["num_pending"] for consumer in stream["consumer_detail"]}
    assert pending == {f"{job}-consumer": int(job == "image-download") for job in JOBS}
