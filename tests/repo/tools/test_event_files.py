"""Events as files: they follow the classes of the jobs, and a change that breaks a reader is refused."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from event_files.compatibility import refusals
from event_files.views import Role, View
from job_files.__main__ import main
from keda_jobs import Event
from stack.jobs import ROOT

from .test_job_files import EVENT_JOB, EVENT_TOML, Repository

SENDING_JOB = EVENT_JOB.replace(
    "async def handle(event: Happened, job: Context[JobSettings]) -> None: ...",
    """
class Done(Event, subject="done"):
    key: str
    size: int = 0

async def handle(event: Happened, job: Context[JobSettings]) -> Done: ...
""",
)
HAPPENED = 'subject="happened"):\n    key: str'
READS, SENDS = "jobs/new-here/events/reads/happened.json", "jobs/new-here/events/sends/done.json"


@pytest.fixture
def repository(new_package: Path, tmp_path: Path) -> Repository:
    """Return a repository with the files of a job that sends an event."""
    repository = Repository(tmp_path, new_package)
    repository.written(SENDING_JOB, EVENT_TOML)
    return repository


def test_a_job_accepts_more_than_it_sends(repository: Repository) -> None:
    read, sent = (json.loads((repository.root / path).read_text()) for path in (READS, SENDS))
    assert (read["required"], sent["required"]) == (["key"], ["key", "size"])


def test_the_document_names_each_subject_once_and_who_sends_and_reads_it() -> None:
    document = json.loads((ROOT / "jobs/asyncapi.json").read_text())
    done = document["channels"]["image-downloaded"]
    assert done["address"] == "image-downloaded"
    assert sorted(done["messages"]) == [
        "image-download-sends-image-downloaded",
        "image-resize-reads-image-downloaded",
    ]
    actions = {operation["title"]: operation["action"] for operation in document["operations"].values()}
    assert actions["image-download sends image-downloaded"] == "send"
    assert actions["image-resize reads image-downloaded"] == "receive"


def test_every_reference_of_the_document_leads_somewhere() -> None:
    document = json.loads((ROOT / "jobs/asyncapi.json").read_text())
    references = set(re.findall(r'"\$ref": "([^"]+)"', (ROOT / "jobs/asyncapi.json").read_text()))
    assert references
    for reference in references:
        if reference.startswith("#/"):
            target: Any = document
            for part in reference[2:].split("/"):
                target = target[part]
        else:
            assert (ROOT / "jobs" / reference).is_file(), reference


@pytest.mark.parametrize(
    ("present", "changed"),
    [
        (HAPPENED, f"{HAPPENED}\n    note: str | None = None"),
        ("key: str\n    size", "key: str\n    more: str\n    size"),
        ("size: int = 0", "size: int"),
        (HAPPENED, f"{HAPPENED} | None"),
    ],
)
def test_a_change_that_nobody_notices_is_written(repository: Repository, present: str, changed: str) -> None:
    assert present in SENDING_JOB
    repository.declare(SENDING_JOB.replace(present, changed), EVENT_TOML)
    assert main(["--check"], repository.root) == 1
    assert main([], repository.root) == 0
    assert main(["--check"], repository.root) == 0


@pytest.mark.parametrize(
    ("present", "changed", "mistake"),
    [
        (
            HAPPENED,
            HAPPENED.replace("key", "url"),
            f"{READS}: new-here would refuse what it accepts today, and what the stream still holds: event.url: req",
        ),
        (HAPPENED, HAPPENED.replace("str", "int"), f"{READS}: new-here would refuse"),
        (
            "    size: int = 0\n",
            "",
            f"{SENDS}: readers of what new-here sends today would fail: event.size: required by the reader, not always",
        ),
        ("size: int = 0", "size: int | None = None", f"{SENDS}: readers of what new-here sends today would fail"),
        (") -> Done", ") -> None", f"{SENDS}: new-here sends no done any more; bring the event back, or"),
    ],
)
def test_a_change_that_breaks_a_reader_or_a_sender_is_refused(
    repository: Repository, present: str, changed: str, mistake: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [(repository.root / path).read_text() for path in (READS, SENDS)]
    job = SENDING_JOB.replace(present, changed, 1)
    assert job != SENDING_JOB
    repository.declare(job, EVENT_TOML)
    for arguments in ([], ["--check"]):
        assert main(arguments, repository.root) == 2
        assert mistake in capsys.readouterr().err
    assert [(repository.root / path).read_text() for path in (READS, SENDS)] == before


def test_a_job_that_cannot_read_what_another_sends_is_named(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    own = 'class Own(Event, subject="done"):\n    key: int\n\nclass Happened(Event'
    job = SENDING_JOB.replace("class Happened(Event", own).replace("event: Happened", "event: Own")
    repository.declare(job, EVENT_TOML)
    assert main([], repository.root) == 2
    line = "new-here may refuse done as new-here sends it: event.key: string is written, integer is read; change the"
    assert line in capsys.readouterr().err


def test_a_deleted_file_accepts_the_change(repository: Repository) -> None:
    repository.declare(SENDING_JOB.replace("    size: int = 0\n", ""), EVENT_TOML)
    (repository.root / SENDS).unlink()
    assert main([], repository.root) == 0
    assert json.loads((repository.root / SENDS).read_text())["required"] == ["key"]


def test_a_file_that_was_never_committed_is_nobodys_contract(repository: Repository) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=repository.root, check=True)
    repository.declare(SENDING_JOB.replace("    size: int = 0\n", ""), EVENT_TOML)
    assert main([], repository.root) == 0
    subprocess.run(["git", "add", "--all"], cwd=repository.root, check=True)
    repository.declare(SENDING_JOB.replace("    key: str\n    size", "    size"), EVENT_TOML)
    assert main([], repository.root) == 2


def test_a_damaged_file_is_named(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("{", "[]"):
        (repository.root / READS).write_text(text)
        assert main([], repository.root) == 2
        assert f"{repository.root / READS} is not" in capsys.readouterr().err


class Part(Event):
    name: str
    parts: tuple[Part, ...] = ()


class Written(Event, subject="done"):
    key: str
    size: int
    note: str | None = None
    state: Literal["new", "old"] = "new"
    counts: dict[str, int] = Field(default_factory=dict)
    tree: Part | None = None


class Less(Event, subject="done"):
    key: str


class Tolerant(Event, subject="done"):
    key: str
    size: float
    note: str | None = None
    state: str
    later: str = ""
    counts: dict[str, float] = Field(default_factory=dict)
    tree: Part | None = None


class OtherName(Event, subject="done"):
    path: str


class OtherType(Event, subject="done"):
    size: str


class Shorter(Event, subject="done"):
    key: str = Field(max_length=10)


class NotNull(Event, subject="done"):
    note: str


class Strict(Event, subject="done", extra="forbid"):
    key: str


class FewerStates(Event, subject="done"):
    state: Literal["new"]


class OtherCounts(Event, subject="done"):
    counts: dict[str, str]


class OtherPart(Event):
    name: int
    parts: tuple[OtherPart, ...] = ()


class OtherTree(Event, subject="done"):
    tree: OtherPart | None


def reasons(read: type[Event]) -> list[str]:
    sent, accepted = View("sender", Role.SENDS, Written), View("reader", Role.READS, read)
    return refusals(sent.schema(), accepted.schema())


@pytest.mark.parametrize("read", [Written, Less, Tolerant])
def test_a_reader_of_less_or_of_wider_types_agrees(read: type[Event]) -> None:
    assert reasons(read) == []


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (OtherName, "event.path: required by the reader, not always written"),
        (OtherType, "event.size: integer is written, string is read"),
        (Shorter, "event.key: maxLength is 10 where it is read, None where it is written"),
        (NotNull, "event.note: null is written, string is read"),
        (Strict, "event: the reader refuses fields it does not know: it must be a tolerant one"),
        (FewerStates, "event.state: ['new'] is read, ['new', 'old'] is written"),
        (OtherCounts, "event.counts.*: integer is written, string is read"),
        (OtherTree, "event.tree: none of the reader's 2 choices accepts it: event.tree.name: string is written"),
    ],
)
def test_a_disagreement_is_found(read: type[Event], reason: str) -> None:
    [found] = reasons(read)
    assert found.startswith(reason)
