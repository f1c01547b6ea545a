"""Every event job has the same shape, and its declared consumer is the one its loop expects."""

from __future__ import annotations

import pytest

from keda_jobs.domain.subjects import due_subject

from .jobs import JOBS, EventJob

EACH_JOB = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
FILES = ("Dockerfile", "consumer.json", "pyproject.toml", "README.md")
MODULES = ("__init__", "__main__", "settings", "events", "handler", "job")


@EACH_JOB
def test_the_folder_has_what_every_job_has(job: EventJob) -> None:
    modules = [f"src/{job.package}/{module}.py" for module in MODULES]
    missing = [path for path in (*FILES, *modules) if not (job.folder / path).is_file()]
    assert missing == []
    assert list((job.folder / "tests").glob("test_*.py"))


@EACH_JOB
def test_the_consumer_is_named_after_the_job(job: EventJob) -> None:
    assert (job.declared["name"], job.declared["durable_name"]) == (f"{job.name}-consumer", f"{job.name}-consumer")


@EACH_JOB
def test_the_consumer_takes_the_events_that_the_handler_reads_and_the_due_retries(job: EventJob) -> None:
    assert job.declared["filter_subjects"] == [job.read.subject, due_subject(job.name)]


@EACH_JOB
def test_the_loop_beats_for_the_ack_wait_that_is_declared(job: EventJob) -> None:
    assert job.declared["ack_wait"] == job.settings.model_fields["ack_wait_s"].default * 10**9
