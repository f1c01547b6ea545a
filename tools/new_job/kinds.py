"""Kinds of new jobs: the option that each has, what it refuses, and the words for its files in `template/<kind>`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

from keda_jobs.batch import BatchJob
from keda_jobs.claims.roles import scaler_role, worker_role
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.subjects import DEAD_LETTER, RETRY_WAIT
from keda_jobs.event.job import EventJob
from stack.jobs import jobs_of, package_name

# KEDA and Kubernetes put a prefix and a hash around a name, and allow 63 characters.
LONGEST_NAME = 40
_SUBJECT = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_SHARED_SUBJECTS = {DEAD_LETTER, RETRY_WAIT.partition(".")[0]}
_SHARED_TABLES = {"batch_jobs", "batch_migrations", "batch_queues"}


@dataclass(frozen=True, slots=True)
class Plan(ABC):
    """Plan of a new job."""

    kind: ClassVar[str]
    option: ClassVar[str] = ""
    """Option of `make new-job` for this kind alone."""
    lock: ClassVar[str] = "event-job"
    """Lock file in `requirements/` with the packages of a new job."""
    base: ClassVar[str] = "ProcessSettings"
    """Class in `keda_jobs.settings` that the job's settings inherit."""

    name: str

    @classmethod
    def from_option(cls, name: str, value: str) -> Self:
        """Plan the job `name` with the value of the kind's option."""
        return cls(name, *([value] if cls.option else []))

    @property
    def package(self) -> str:
        """Python package of the job."""
        return package_name(self.name)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects that the stream needs for the job."""
        return ()

    @property
    @abstractmethod
    def purpose(self) -> str:
        """Third-person phrase of what the job does."""

    @abstractmethod
    def next_steps(self) -> tuple[str, str]:
        """Return what to write first, and how to try the job."""

    def faults(self) -> Iterator[str]:
        """Yield what is wrong with the kind's option."""
        yield from ()

    def words(self) -> dict[str, str]:
        """Return the words for `<job>`, `<package>` and so on in the template."""
        common = {"job": self.name, "package": self.package, "purpose": self.purpose}
        return common | {"Base": self.base, "extras": ""}


@dataclass(frozen=True, slots=True)
class EventPlan(Plan):
    """Plan of an event job that reads `subject`."""

    kind = "event"
    option = "subject"
    base = "JobSettings"

    subject: str

    @property
    def subjects(self) -> tuple[str, ...]:
        return (self.subject,)

    @property
    def purpose(self) -> str:
        return f"reads {self.subject}"

    def next_steps(self) -> tuple[str, str]:
        event = f'{{"{_text_field(self.subject)}": "a"}}'
        command = f"make down up && .venv/bin/keda-jobs pub {self.subject} '{event}' && .venv/bin/keda-jobs status"
        return "the event and the handler: events.py, handler.py", command

    def faults(self) -> Iterator[str]:
        if not self.subject:
            yield "name the subject that it reads: SUBJECT=video-uploaded (or KIND=batch for a job on a table)"
        elif not _SUBJECT.fullmatch(self.subject) or len(self.subject) > LONGEST_NAME:
            yield (
                f"'{self.subject}' is no subject of an event: use lower-case letters and digits, between them dashes,"
                f" underscores or dots, a letter first, at most {LONGEST_NAME} characters"
            )
        elif self.subject.partition(".")[0] in _SHARED_SUBJECTS:
            yield f"the subject '{self.subject}' is taken: dead letters and retries use it"

    def words(self) -> dict[str, str]:
        own = {"subject": self.subject, "Event": _class_name(self.subject), "field": _text_field(self.subject)}
        return super(EventPlan, self).words() | own


@dataclass(frozen=True, slots=True)
class BatchPlan(Plan):
    """Plan of a batch job that works on the rows of `table`."""

    kind = "batch"
    option = "table"
    lock = "batch-job"
    base = "BatchSettings"

    table: str

    @classmethod
    def from_option(cls, name: str, value: str) -> Self:
        return cls(name, value or package_name(name))

    @property
    def purpose(self) -> str:
        return f"works on the rows of {self.table}"

    def next_steps(self) -> tuple[str, str]:
        return (
            "the table and the handler: migrations/0001_table.sql, handler.py",
            "make down up, then README.md, “Try it”",
        )

    def faults(self) -> Iterator[str]:
        try:
            table = ClaimTable(self.name, self.table)
        except ValueError as error:
            yield str(error)
            return
        if table.queue_name != table.name:
            yield f"{table.name!r} is not a plain lower-case name of at most 41 characters"
        for job in jobs_of(BatchJob):
            if {table.name, f"{table.name}_queue"} & {job.table.name, f"{job.table.name}_queue"}:
                yield f"the table '{table.name}' is taken: {job.name} has it"
        if table.name in _SHARED_TABLES:
            yield f"the table '{table.name}' is taken: the claim queues use it"

    def words(self) -> dict[str, str]:
        table = ClaimTable(self.name, self.table)
        own = {
            "table": self.table,
            "worker": worker_role(table),
            "scaler": scaler_role(table),
            "extras": "[postgres]",
        }
        return super(BatchPlan, self).words() | own


KINDS: dict[str, type[Plan]] = {plan.kind: plan for plan in (EventPlan, BatchPlan)}


def _class_name(subject: str) -> str:
    """Return `VideoUploaded` for `video-uploaded`. A single word gets a suffix, as it may be another class's name."""
    parts = re.split(r"[-_.]", subject)
    return "".join(part.capitalize() for part in parts) + ("Event" if len(parts) == 1 else "")


def _text_field(subject: str) -> str:
    """Return the first text field of the event that another job emits, `key` where none emits it."""
    emitted = (event for job in jobs_of(EventJob) for event in job.emitted if event.subject == subject)
    texts = (name for event in emitted for name, field in event.model_fields.items() if field.annotation is str)
    return next(texts, "key")
