"""`streams.apply` brings the schedules on the server in line with those of job.toml, and no others."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.cron import six_fields
from keda_jobs.domain.delay import delayed, delayed_subject, of_job
from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import DELAYED_STREAM, delay_fire_subject
from keda_jobs.errors import BrokerUnavailable, Misconfigured
from keda_jobs.jetstream.api import request
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import read_declaration
from keda_jobs.jetstream.publish import PublishRefused, publish
from keda_jobs.jetstream.reader import read_all
from keda_jobs.jetstream.schedules import Schedule, read_schedules
from keda_jobs.jetstream.streams import RefusedChange, apply
from keda_jobs.settings import NatsSettings
from stack import NatsServer, until

JOB = "image-download"
NIGHTLY = """
[[schedules]]
name = "nightly"
cron = "30 2 * * *"
timezone = "Europe/Berlin"
event = {url = "https://a"}
"""
LOOK = """
[[schedules]]
name = "look"
every = "1s"
event = {url = "https://b"}
"""


class Repository:
    """Folder `jobs` with the declarations of this repository, whose job.toml of one job a test writes."""

    def __init__(self, folder: Path, connection: NatsConnection) -> None:
        self.folder = folder
        self.connection = connection
        self.toml = folder / JOB / "job.toml"

    async def apply(self, schedules: str) -> list[str]:
        """Write the schedules, apply them, and return the changes of schedules."""
        self.toml.write_text(f"internet = true\n{schedules}")
        changes = await apply(self.connection, read_declaration(self.folder))
        return [str(change) for change in changes.items if change.kind == "schedule"]

    async def waiting(self) -> dict[str, Schedule]:
        return {schedule.key: schedule async for schedule in read_schedules(self.connection)}

    async def arrived(self) -> int:
        return len([message async for message in read_all(self.connection, JOB)])


@pytest.fixture
async def repository(nats_server: NatsServer, tmp_path: Path, declared_files: Path) -> AsyncIterator[Repository]:
    async with connect(NatsSettings(nats_url=nats_server.url), name="test", wait=True) as connection:
        yield Repository(declared_files, connection)


@pytest.fixture
def declared_files(tmp_path: Path) -> Path:
    """Copy the declarations of this repository."""
    jobs = Path(__file__).parents[3] / "jobs"
    target = tmp_path / "jobs"
    for path in (*jobs.glob("stream*.json"), *jobs.glob("*/consumer.json")):
        copy = target / path.relative_to(jobs)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return target


async def test_a_schedule_is_made_once_and_left_alone_while_it_is_equal(repository: Repository) -> None:
    assert await repository.apply(NIGHTLY) == ["+ schedule image-download.nightly"]
    made = (await repository.waiting())["image-download.nightly"]
    assert await repository.apply(NIGHTLY) == ["= schedule image-download.nightly"]

    assert await repository.waiting() == {"image-download.nightly": made}
    assert (made.subject, made.rule, made.sender) == (JOB, "0 30 2 * * * Europe/Berlin", "declared")


async def test_a_changed_rule_takes_its_place_and_may_be_changed_back_at_once(repository: Repository) -> None:
    await repository.apply(NIGHTLY)
    later = NIGHTLY.replace("30 2", "0 4").replace('timezone = "Europe/Berlin"\n', "").replace("//a", "//c")

    [line] = await repository.apply(later)
    assert line == (
        "~ schedule image-download.nightly: rule 0 30 2 * * * → 0 0 4 * * *, timezone Europe/Berlin → none, "
        'event {"url":"https://a"} → {"url":"https://c"}'
    )
    await repository.apply(NIGHTLY)

    [schedule] = (await repository.waiting()).values()
    assert schedule.rule == "0 30 2 * * * Europe/Berlin"


async def test_what_is_gone_from_the_files_is_cancelled_and_what_others_scheduled_stays(
    repository: Repository,
) -> None:
    await repository.apply(NIGHTLY + LOOK.replace("1s", "1h"))
    due = datetime.now(UTC) + timedelta(hours=1)
    await publish(repository.connection, delayed(Outgoing(JOB, b"{}", "1"), due))
    await publish(repository.connection, delayed(Outgoing(JOB, b"{}", "2"), due, of_job(JOB)))

    assert await repository.apply(NIGHTLY) == [
        "= schedule image-download.nightly",
        "- schedule image-download.look",
    ]
    repository.toml.unlink()
    await apply(repository.connection, read_declaration(repository.folder))

    assert {one.sender for one in (await repository.waiting()).values()} == {"sent", of_job(JOB)}


async def test_it_comes_again_and_again_without_being_made_anew(repository: Repository) -> None:
    await repository.apply(LOOK)
    made = await repository.waiting()

    async def twice() -> bool:
        return await repository.arrived() >= 2

    await until(twice)
    assert await repository.apply(LOOK) == ["= schedule image-download.look"]
    assert await repository.waiting() == made
    bodies = {message.data async for message in read_all(repository.connection, JOB)}
    assert bodies == {b'{"url":"https://b"}'}


async def test_a_dry_run_makes_none(repository: Repository) -> None:
    await repository.apply("")
    repository.toml.write_text(NIGHTLY)

    changes = await apply(repository.connection, read_declaration(repository.folder), dry_run=True)

    assert [str(change) for change in changes.pending] == ["+ schedule image-download.nightly"]
    assert await repository.waiting() == {}


async def test_an_event_that_no_message_can_hold_is_refused_before_anything_is_applied(repository: Repository) -> None:
    size = repository.connection.max_payload
    with pytest.raises(RefusedChange, match=r"schedule image-download\.nightly: \d+ bytes for"):
        await repository.apply(NIGHTLY.replace("https://a", "a" * size))
    with pytest.raises(BrokerUnavailable, match="there is no stream"):
        await request(repository.connection, f"STREAM.INFO.{DELAYED_STREAM}")


@pytest.mark.parametrize(
    ("toml", "mistake"),
    [
        (NIGHTLY.replace("30 2", "99 2"), "schedules.0.cron: '99' is no minute: write 0 to 59"),
        (NIGHTLY + NIGHTLY, "schedules: 2 schedules have the name nightly"),
        (NIGHTLY.replace('"nightly"', '"night.ly"'), "schedules.0.name: String should match pattern"),
        (NIGHTLY.replace("Europe/Berlin", "Local"), "schedules.0.timezone: 'Local' is no time zone such as"),
        (NIGHTLY.replace("timezone", "zone"), "schedules.0.zone is no key of this kind of job"),
        (NIGHTLY.replace('cron = "30 2 * * *"', 'every = "1h"'), "schedules.0: every has no timezone"),
        (NIGHTLY + 'every = "1h"', "schedules.0: write either cron or every"),
        (LOOK.replace('every = "1s"', ""), "schedules.0: write either cron or every"),
        (LOOK.replace("1s", "500ms"), "schedules.0.every: '500ms' is not a number of whole seconds from 1s to 365d"),
        (LOOK.replace("1s", "366d"), "schedules.0.every: '366d' is not a number"),
        (LOOK.replace("1s", "soon"), "schedules.0.every: 'soon' is not a duration such as"),
        (LOOK.replace('"https://b"', "2026-01-01"), "schedules.0.event: it cannot be written as JSON"),
        (LOOK.replace('"https://b"', "nan"), "schedules.0.event: it cannot be written as JSON: NaN is not JSON"),
        (LOOK.replace('event = {url = "https://b"}', ""), "schedules.0.event is missing"),
        ("schedules = 1", "schedules: Input should be a valid list"),
        ("[[schedules", "job.toml: "),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(declared_files: Path, toml: str, mistake: str) -> None:
    (declared_files / JOB / "job.toml").write_text(toml)
    with pytest.raises(Misconfigured, match=re.escape(f"{JOB}/job.toml: ")) as error:
        read_declaration(declared_files)
    assert mistake in str(error.value)
    assert "\n" not in str(error.value)


def test_a_job_without_a_consumer_has_no_schedules(declared_files: Path) -> None:
    (declared_files / JOB / "consumer.json").unlink()
    (declared_files / JOB / "job.toml").write_text(NIGHTLY)
    with pytest.raises(Misconfigured, match="must name one event, which they publish"):
        read_declaration(declared_files)


@pytest.mark.parametrize(
    "rule",
    [
        *("* * * * *", "*/7 5/15 ? * 1-5", "0 0 1 jan-MAR *", "1,2,3 * * * sun", "0 0 29 2 *", "0 0 31 2 1"),
        *("0 0 31 2 *", "0 0 31 2 */2", "0 0 30 2 */1", "0 0 * * 7", "5-1 * * * *", "*/0 * * * *", "60 * * * *"),
        *("0 0 L * *", "*/100 * * * *", "0 0 0 * *", "a * * * *"),
    ],
)
async def test_the_server_takes_the_rules_that_we_take(repository: Repository, rule: str) -> None:
    await repository.apply("")
    try:
        taken = six_fields(rule)
    except ValueError:
        with pytest.raises(PublishRefused):
            await publish(repository.connection, schedule_of(f"0 {rule}"))
    else:
        assert (await publish(repository.connection, schedule_of(taken))).is_new


def schedule_of(rule: str) -> Outgoing:
    headers: dict[str, str] = {Header.SCHEDULE: rule, Header.SCHEDULE_TARGET: delay_fire_subject(JOB)}
    return Outgoing(delayed_subject("declared.x", "y"), b"{}", str(uuid.uuid4()), headers)
