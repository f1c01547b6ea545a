"""Views of events: what each job accepts and what it sends, as JSON Schemas from the classes of the jobs."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from keda_jobs.domain.event import Event
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Job


class Role(StrEnum):
    """What a job does with an event. The value is also the name of the folder."""

    READS = "reads"
    SENDS = "sends"


class _AsEncoded(GenerateJsonSchema):
    """Schema in which every field is required, because `Event.encode` writes fields with a default too."""

    def field_is_required(
        self, field: core_schema.ModelField | core_schema.DataclassField | core_schema.TypedDictField, total: bool
    ) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class View:
    """Event as one job accepts or sends it."""

    job: str
    role: Role
    event: type[Event]

    @property
    def subject(self) -> str:
        """Subject of the event."""
        return self.event.subject

    @property
    def path(self) -> Path:
        """File of its schema, below the folder `jobs`."""
        return Path(self.job, "events", self.role, f"{self.subject}.json")

    def schema(self) -> dict[str, Any]:
        """Build the JSON Schema: of what is accepted, or of what is always written."""
        if self.role is Role.READS:
            schema = self.event.model_json_schema(mode="validation")
        else:
            schema = self.event.model_json_schema(mode="serialization", schema_generator=_AsEncoded)
        return {"$schema": GenerateJsonSchema.schema_dialect, **schema}

    def text(self) -> str:
        """Return the text of its file."""
        return as_text(self.schema())


def views_of(jobs: Sequence[Job]) -> list[View]:
    """List the views of all jobs. Raises `TypeError` where a handler's annotation leaves open what it sends."""
    return [
        View(job.name, role, event)
        for job in jobs
        for role, events in (
            (Role.READS, [job.event] if isinstance(job, EventJob) else []),
            (Role.SENDS, job.outputs.events),
        )
        for event in events
    ]


def links(views: Sequence[View]) -> Iterator[tuple[View, View]]:
    """Yield each pair of a job that sends an event and one that reads it."""
    for sent, read in itertools.product(views, views):
        if (sent.role, read.role, sent.subject) == (Role.SENDS, Role.READS, read.subject):
            yield sent, read


def as_text(document: dict[str, Any]) -> str:
    """Format a JSON document for people and for `git diff`."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
