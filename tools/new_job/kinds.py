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
from keda_jobs.domain.subjects import BACKUP_STARTED, DEAD_LETTER, DELAY_WAIT, PROGRESS, RETRY_WAIT
from keda_jobs.event.job import EventJob
from stack.jobs import all_jobs, jobs_of, package_name

# KEDA and Kubernetes put a prefix and a hash around a name, and allow 63 characters.
LONGEST_NAME = 40
_SUBJECT = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_FIRST_PARTS = (subject.partition(".")[0] for subject in (RETRY_WAIT, DELAY_WAIT, BACKUP_STARTED, PROGRESS))
_SHARED_SUBJECTS = {DEAD_LETTER, *_FIRST_PARTS}
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
        return common | {"Base": self.base, "extras": "job"}


@dataclass(frozen=True, slots=True)
class SubjectPlan(Plan):
    """Plan of a job with events of `subject`."""

    option = "subject"
    missing: ClassVar[str]
    """What to do when the subject is not given."""

    subject: str

    @property
    def subjects(self) -> tuple[str, ...]:
        return (self.subject,)

    def faults(self) -> Iterator[str]:
        if self.subject:
            yield from _subject_faults(self.subject)
        else:
            yield self.missing

    def words(self) -> dict[str, str]:
        return super(SubjectPlan, self).words() | _event_words(self.subject)


@dataclass(frozen=True, slots=True)
class EventPlan(SubjectPlan):
    """Plan of an event job that reads `subject`."""

    kind = "event"
    base = "JobSettings"
    missing = "name the subject that it reads: SUBJECT=video-uploaded (or KIND=batch for a job on a table)"

    @property
    def purpose(self) -> str:
        return f"reads {self.subject}"

    def next_steps(self) -> tuple[str, str]:
        event = f'{{"{_text_field(self.subject)}": "a"}}'
        command = f"make down up && .venv/bin/keda-jobs pub {self.subject} '{event}' && .venv/bin/keda-jobs status"
        return "the event and the handler: events.py, handler.py", command


@dataclass(frozen=True, slots=True)
class LongPlan(EventPlan):
    """Plan of a long job that reads `subject`."""

    kind = "long"

    @property
    def purpose(self) -> str:
        return f"works on {self.subject}, one event a pod"


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
        yield from _table_faults(self.name, self.table)

    def words(self) -> dict[str, str]:
        return super(BatchPlan, self).words() | _table_words(self.name, self.table)


@dataclass(frozen=True, slots=True)
class OutboxPlan(SubjectPlan):
    """Plan of a batch job that sends the rows of its table as events, at first as those of `subject`."""

    kind = "outbox"
    lock = "batch-job"
    base = "BatchSettings, NatsSettings"
    missing = "name the first event that it sends: SUBJECT=order-placed"

    @property
    def purpose(self) -> str:
        return f"sends the rows of {self.package} as events"

    def next_steps(self) -> tuple[str, str]:
        return "the event and the table: events.py, migrations/0001_table.sql", "make down up, then README.md, “Try it”"

    def faults(self) -> Iterator[str]:
        yield from _table_faults(self.name, self.package)
        yield from super(OutboxPlan, self).faults()

    def words(self) -> dict[str, str]:
        return super(OutboxPlan, self).words() | _table_words(self.name, self.package)


KINDS: dict[str, type[Plan]] = {plan.kind: plan for plan in (EventPlan, LongPlan, BatchPlan, OutboxPlan)}


def kinds_with(option: str) -> str:
    """Name the kinds that have `option`, such as `event or outbox`."""
    return " or ".join(plan.kind for plan in KINDS.values() if plan.option == option)


def _subject_faults(subject: str) -> Iterator[str]:
    if not _SUBJECT.fullmatch(subject) or len(subject) > LONGEST_NAME:
        yield (
            f"'{subject}' is no subject of an event: use lower-case letters and digits, between them dashes,"
            f" underscores or dots, a letter first, at most {LONGEST_NAME} characters"
        )
    elif subject.partition(".")[0] in _SHARED_SUBJECTS:
        yield f"the subject '{subject}' is taken: the library uses it"


def _event_words(subject: str) -> dict[str, str]:
    return {"subject": subject, "Event": _class_name(subject), "field": _text_field(subject)}


def _table_faults(name: str, table_name: str) -> Iterator[str]:
    try:
        table = ClaimTable(name, table_name)
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


def _table_words(name: str, table_name: str) -> dict[str, str]:
    table = ClaimTable(name, table_name)
    roles = {"worker": worker_role(table), "scaler": scaler_role(table)}
    return {"table": table_name, "extras": "job,postgres", **roles}


def _class_name(subject: str) -> str:
    """Return `VideoUploaded` for `video-uploaded`. A single word gets a suffix, as it may be another class's name."""
    parts = re.split(r"[-_.]", subject)
    return "".join(part.capitalize() for part in parts) + ("Event" if len(parts) == 1 else "")


def _text_field(subject: str) -> str:
    """Return the first text field of the event as another job emits or reads it, `key` where none does."""
    known = [event for job in all_jobs() for event in job.outputs.events] + [job.event for job in jobs_of(EventJob)]
    fields = (field for event in known if event.subject == subject for field in event.model_fields.items())
    return next((name for name, field in fields if field.annotation is str), "key")
