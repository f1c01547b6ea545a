"""Names, subjects and tables that a new job cannot have: one line says why, and nothing changes."""

from __future__ import annotations

import pytest

from new_job.kinds import BatchPlan
from new_job.plan import Refused, planned

from .repository import Repository

TOO_LONG = "a" * 41


@pytest.mark.parametrize("name", ["", "Video", "video_probe", "video--probe", "-video", "video-", "1video", "vidéo",
                                  "../video", "video probe", "video.probe", "video\n", TOO_LONG])  # fmt: skip
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"no name for a job|^name the job"):
        planned(name, "event", subject="made-up-event")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image-resize", "jobs/image-resize exists already"),
        ("users-batch", "jobs/users-batch exists already"),
        ("exporter", "jobs/exporter exists already"),
        ("admin", "'admin' is taken: it is another user of NATS"),
        ("publisher", "'publisher' is taken: it is another user of NATS"),
        ("default", "'default' is taken: something else in the cluster has that name"),
        ("deployer", "'deployer' is taken: something else in the cluster has that name"),
        ("keda-jobs-test-servers", "'keda-jobs-test-servers' is taken: something else in the cluster has that name"),
        ("json", "'json' is taken: there is a Python package of that name"),
        ("prometheus-client", "'prometheus-client' is taken: there is a Python package of that name"),
        ("pillow", "'pillow' is taken: there is a Python package of that name"),
        ("class", "'class' is taken: there is a Python package of that name"),
        ("new-job", "'new-job' is taken: there is a Python package of that name"),
    ],
)
def test_a_taken_name_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        planned(name, "event", subject="made-up-event")
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "subject", ["video.*", "video.>", ">", "video uploaded", "Video", "video..uploaded", ".video", "$JS.API", TOO_LONG]
)
def test_an_invalid_subject_is_refused(subject: str) -> None:
    with pytest.raises(Refused, match="no subject of an event"):
        planned("made-up", "event", subject=subject)


@pytest.mark.parametrize(
    "subject", ["dead-letter", "dead-letter.video", "retry", "retry.due.made-up", "backup.started", "long.work"]
)
def test_a_shared_subject_is_refused(subject: str) -> None:
    with pytest.raises(Refused, match=f"^the subject '{subject}' is taken: the library uses it$"):
        planned("made-up", "event", subject=subject)


@pytest.mark.parametrize("table", ["users", "users_queue", "batch_jobs", "Invoices", "invoices; drop", "a" * 42])
def test_a_taken_or_invalid_table_is_refused(table: str) -> None:
    with pytest.raises(Refused, match=r"is taken|is not a plain lower-case name"):
        planned("made-up", "batch", table=table)


@pytest.mark.parametrize(
    ("kind", "subject", "table", "reason"),
    [
        ("event", "", "", "name the subject that it reads"),
        ("event", "made-up-event", "videos", "TABLE is for KIND=batch"),
        ("batch", "made-up-event", "", "SUBJECT is for KIND=event or long or outbox, not for KIND=batch"),
        ("long", "", "", "name the subject that it reads"),
        ("long", "made-up-event", "videos", "TABLE is for KIND=batch, not for KIND=long"),
        ("outbox", "", "", "name the first event that it sends"),
        ("outbox", "dead-letter", "", "the subject 'dead-letter' is taken"),
        ("outbox", "made-up-event", "videos", "TABLE is for KIND=batch, not for KIND=outbox"),
        ("cron", "", "", "KIND is event or long or batch or outbox, not 'cron'"),
    ],
)
def test_an_option_of_another_kind_is_refused(kind: str, subject: str, table: str, reason: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}"):
        planned("made-up", kind, subject=subject, table=table)


def test_the_table_of_a_batch_job_is_named_after_its_package_by_default() -> None:
    assert planned("made-up", "batch", subject="", table="") == BatchPlan("made-up", "made_up")
    assert planned("made-up", "batch", table="made_rows") == BatchPlan("made-up", "made_rows")


@pytest.mark.parametrize(
    ("subject", "name", "field"),
    [
        ("made-up-event", "MadeUpEvent", "key"),
        ("made.up_2", "MadeUp2", "key"),
        ("none", "NoneEvent", "key"),
        ("image-downloaded", "ImageDownloaded", "url"),
        ("image-download", "ImageDownload", "url"),
    ],
)
def test_the_event_is_named_after_its_subject_and_has_a_field_that_another_job_writes_or_reads(
    subject: str, name: str, field: str
) -> None:
    for kind in ("event", "outbox"):
        words = planned("made-up", kind, subject=subject).words()
        assert (words["Event"], words["field"]) == (name, field)


@pytest.mark.parametrize("words", [("NAME=admin", "SUBJECT=a"), ("NAME=made-up",), (), ("NAME=x", "KIND=cron")])
def test_a_refusal_is_one_line_and_changes_nothing(repository: Repository, words: tuple[str, ...]) -> None:
    done = repository.make("new-job", *words)
    assert (done.returncode, done.stdout) == (2, "")
    line, of_make = done.stderr.splitlines()
    assert line.startswith("new-job: ")
    assert of_make.startswith("make: ***")
    assert repository.changes() == []


@pytest.mark.parametrize(
    ("path", "text"), [("requirements/event-job.txt", None), ("jobs/stream.json", '{"subjects": ["orders"]}')]
)
def test_a_failure_halfway_leaves_nothing_behind(repository: Repository, path: str, text: str | None) -> None:
    if text is None:
        (repository.folder / path).unlink()
    else:
        (repository.folder / path).write_text(text)
    before = repository.changes()
    done = repository.make("new-job", "NAME=made-up", "SUBJECT=made-up-event")
    assert done.returncode == 2
    assert done.stderr.startswith("new-job: ")
    assert "Traceback" not in done.stderr
    assert repository.changes() == before
    assert list(repository.folder.glob(".build/*")) == []
