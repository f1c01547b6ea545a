"""What a new job cannot be called, read or work on: one line says why, and nothing was changed."""

from __future__ import annotations

import pytest

from new_job.plan import Plan, Refused, planned

from .repository import Repository

TOO_LONG = "a" * 41


@pytest.mark.parametrize("name", ["", "Video", "video_probe", "video--probe", "-video", "video-", "1video", "vidéo",
                                  "../video", "video probe", "video.probe", "video\n", TOO_LONG])  # fmt: skip
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Refused, match=r"no name for a job|^name the job"):
        planned(name, "event", "made-up-event", "")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image-resize", "jobs/image-resize is there already"),
        ("users-batch", "jobs/users-batch is there already"),
        ("exporter", "jobs/exporter is there already"),
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
def test_a_name_that_something_has_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Refused) as refused:
        planned(name, "event", "made-up-event", "")
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "subject", ["video.*", "video.>", ">", "video uploaded", "Video", "video..uploaded", ".video", "$JS.API", TOO_LONG]
)
def test_what_is_no_subject_of_an_event_is_refused(subject: str) -> None:
    with pytest.raises(Refused, match="no subject of an event"):
        planned("made-up", "event", subject, "")


@pytest.mark.parametrize("subject", ["dead-letter", "dead-letter.video", "retry", "retry.due.made-up"])
def test_a_subject_of_the_house_is_refused(subject: str) -> None:
    with pytest.raises(Refused, match=f"^the subject '{subject}' is taken: dead letters and retries go there$"):
        planned("made-up", "event", subject, "")


@pytest.mark.parametrize("table", ["users", "users_queue", "batch_jobs", "Invoices", "invoices; drop", "a" * 42])
def test_a_table_that_is_taken_or_none_is_refused(table: str) -> None:
    with pytest.raises(Refused, match=r"is taken|is not a plain lower-case name"):
        planned("made-up", "batch", "", table)


@pytest.mark.parametrize(
    ("kind", "subject", "table", "reason"),
    [
        ("event", "", "", "name the subject that it reads"),
        ("event", "made-up-event", "videos", "TABLE is for KIND=batch"),
        ("batch", "made-up-event", "", "SUBJECT is for KIND=event"),
        ("cron", "", "", "KIND is event or batch, not 'cron'"),
    ],
)
def test_what_does_not_belong_to_its_kind_is_refused(kind: str, subject: str, table: str, reason: str) -> None:
    with pytest.raises(Refused, match=f"^{reason}"):
        planned("made-up", kind, subject, table)


def test_a_batch_jobs_table_has_its_packages_name_unless_another_is_given() -> None:
    assert planned("made-up", "batch", "", "") == Plan("made-up", "batch", table="made_up")
    assert planned("made-up", "batch", "", "made_rows").table == "made_rows"


@pytest.mark.parametrize(
    ("subject", "name", "field"),
    [
        ("made-up-event", "MadeUpEvent", "key"),
        ("made.up_2", "MadeUp2", "key"),
        ("none", "NoneEvent", "key"),
        ("image-downloaded", "ImageDownloaded", "url"),
    ],
)
def test_the_event_is_named_by_its_subject_and_reads_what_another_job_writes(
    subject: str, name: str, field: str
) -> None:
    words = planned("made-up", "event", subject, "").words()
    assert (words["Event"], words["field"]) == (name, field)


@pytest.mark.parametrize("words", [("NAME=admin", "SUBJECT=a"), ("NAME=made-up",), (), ("NAME=x", "KIND=cron")])
def test_a_refusal_is_one_line_and_changes_nothing(repository: Repository, words: tuple[str, ...]) -> None:
    done = repository.make("new-job", *words)
    assert (done.returncode, done.stdout) == (2, "")
    said, of_make = done.stderr.splitlines()
    assert said.startswith("new-job: ")
    assert of_make.startswith("make: ***")
    assert repository.changes() == []


@pytest.mark.parametrize(
    ("path", "text"), [("requirements/event-job.txt", None), ("jobs/stream.json", '{"subjects": ["orders"]}')]
)
def test_a_failure_on_the_way_leaves_nothing_behind(repository: Repository, path: str, text: str | None) -> None:
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
