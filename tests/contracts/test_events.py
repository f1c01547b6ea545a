"""Every job accepts the events that others emit, by their JSON Schemas."""

from __future__ import annotations

import json

import pytest
from pydantic import Field
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from keda_jobs import Event
from keda_jobs.domain.subjects import covers
from keda_jobs.event.job import EventJob
from stack import jobs_of
from stack.jobs import ROOT

from .schemas import refusals

JOBS = jobs_of(EventJob)
STREAM_SUBJECTS: list[str] = json.loads((ROOT / "jobs/stream.json").read_text())["subjects"]
LINKS = [
    pytest.param(written, reader.event, id=f"{writer.name} to {reader.name}")
    for writer in JOBS
    for written in writer.emitted
    for reader in JOBS
    if reader.event.subject == written.subject
]


class AsEncoded(GenerateJsonSchema):
    """Schema in which every field is required, as `Event.encode` writes fields with a default too."""

    def field_is_required(
        self, field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField, total: bool
    ) -> bool:
        return True


def disagreements(written: type[Event], read: type[Event]) -> list[str]:
    schema = written.model_json_schema(mode="serialization", schema_generator=AsEncoded)
    return refusals(schema, read.model_json_schema(mode="validation"))


@pytest.mark.parametrize(("written", "read"), LINKS)
def test_an_emitted_event_is_accepted(written: type[Event], read: type[Event]) -> None:
    assert written is not read, "each job declares its own view of an event"
    assert disagreements(written, read) == []


def test_the_two_image_jobs_are_linked() -> None:
    assert "image-download to image-resize" in [link.id for link in LINKS]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_subject_belongs_to_the_stream(job: EventJob) -> None:
    for event in (job.event, *job.emitted):
        assert any(covers(pattern, event.subject) for pattern in STREAM_SUBJECTS), (
            f"{event.subject} is not among the subjects of jobs/stream.json"
        )


class Written(Event, subject="done"):
    key: str
    size: int
    note: str | None = None


class Same(Event, subject="done"):
    key: str


class Tolerant(Event, subject="done"):
    key: str
    size: float
    note: str | None = None
    later: str = ""


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


@pytest.mark.parametrize("read", [Same, Tolerant])
def test_a_reader_of_less_or_of_optional_fields_agrees(read: type[Event]) -> None:
    assert disagreements(Written, read) == []


@pytest.mark.parametrize(
    ("read", "reason"),
    [
        (OtherName, "event.path: required by the reader, not always written"),
        (OtherType, "event.size: integer is written, string is read"),
        (Shorter, "event.key: maxLength is 10 where it is read, None where it is written"),
        (NotNull, "event.note: null is written, string is read"),
        (Strict, "event: the reader refuses fields it does not know: it must be a tolerant one"),
    ],
)
def test_a_disagreement_is_found(read: type[Event], reason: str) -> None:
    assert disagreements(Written, read) == [reason]
