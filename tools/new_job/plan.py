"""What a new job is to be called and what it takes; names that would clash with something are refused."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util

import yaml

from keda_jobs.claims.schema import scaler_role, worker_role
from keda_jobs.claims.table import ClaimTable
from keda_jobs.domain.subjects import DEAD_LETTER, RETRY_WAIT
from keda_jobs.event.job import emitted_types
from nats_users import ADMIN, PUBLISHER
from stack.jobs import ROOT, event_jobs, handler_of, package_of
from stack.schema import tables

EVENT = "event"
BATCH = "batch"

# KEDA and Kubernetes put a prefix and a hash around a job's name, and the whole may have 63 characters.
_LONGEST = 40
_JOB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUBJECT = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
_HOUSE_SUBJECTS = {DEAD_LETTER, RETRY_WAIT.partition(".")[0]}
# What it makes beside the tables of its queues.
_HOUSE_TABLES = {"batch_jobs", "batch_migrations", "batch_queues"}


class Refused(Exception):
    """The job cannot be made; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A job to be made: an event job reads `subject`, a batch job works on `table`."""

    name: str
    kind: str = EVENT
    subject: str = ""
    table: str = ""

    @property
    def package(self) -> str:
        """Its Python package."""
        return package_of(self.name)

    def words(self) -> dict[str, str]:
        """What stands in the files for `<job>`, `<package>` and so on."""
        words = {"job": self.name, "package": self.package}
        if self.kind == EVENT:
            return words | {"subject": self.subject, "Event": _class_of(self.subject), "field": _text_of(self.subject)}
        table = ClaimTable(self.name, self.table)
        worker, scaler = worker_role(table), scaler_role(table)
        return words | {"table": self.table, "worker": worker, "scaler": scaler, "WORKER": worker.upper()}


def planned(name: str, kind: str, subject: str, table: str) -> Plan:
    """The job that these words ask for. Raises `Refused`."""
    plan = Plan(name, kind, subject, table or (package_of(name) if kind == BATCH else ""))
    for fault in _faults(plan):
        raise Refused(fault)
    return plan


def _faults(plan: Plan) -> Iterator[str]:
    yield from _faults_of_name(plan.name)
    if plan.kind == EVENT:
        if plan.table:
            yield "TABLE is for KIND=batch; an event job has a SUBJECT"
        yield from _faults_of_subject(plan.subject)
    elif plan.kind == BATCH:
        if plan.subject:
            yield "SUBJECT is for KIND=event; a batch job has a TABLE"
        yield from _faults_of_table(plan)
    else:
        yield f"KIND is event or batch, not '{plan.kind}'"


def _faults_of_name(name: str) -> Iterator[str]:
    if not name:
        yield "name the job: make new-job NAME=video-probe SUBJECT=video-uploaded"
    if not _JOB.fullmatch(name) or len(name) > _LONGEST:
        yield (
            f"'{name}' is no name for a job: small letters, digits and single dashes, a letter first,"
            f" at most {_LONGEST} characters"
        )
    if (ROOT / "jobs" / name).exists():
        yield f"jobs/{name} is there already"
    if name in (ADMIN, PUBLISHER):
        yield f"'{name}' is taken: it is another user of NATS"
    if name.startswith("keda-jobs") or name in _in_the_cluster():
        yield f"'{name}' is taken: something else in the cluster has that name"
    if _is_python(package_of(name)) or _is_installed(name):
        yield f"'{name}' is taken: there is a Python package of that name"


def _in_the_cluster() -> set[str]:
    """Names of what the platform brings, and of the account that each namespace has."""
    files = ROOT.glob("k8s/**/*.yaml")
    things = (thing for file in files for thing in yaml.safe_load_all(file.read_text()) if thing)
    return {"default", *(thing["metadata"]["name"] for thing in things if "metadata" in thing)}


def _is_python(package: str) -> bool:
    return keyword.iskeyword(package) or util.find_spec(package) is not None


def _is_installed(project: str) -> bool:
    try:
        metadata.distribution(project)
    except metadata.PackageNotFoundError:
        return False
    return True


def _faults_of_subject(subject: str) -> Iterator[str]:
    if not subject:
        yield "name the subject that it reads: SUBJECT=video-uploaded (or KIND=batch for a job on a table)"
    elif not _SUBJECT.fullmatch(subject) or len(subject) > _LONGEST:
        yield (
            f"'{subject}' is no subject of an event: small letters and digits, between them dashes, underscores or"
            f" dots, a letter first, at most {_LONGEST} characters"
        )
    elif subject.partition(".")[0] in _HOUSE_SUBJECTS:
        yield f"the subject '{subject}' is taken: dead letters and retries go there"


def _faults_of_table(plan: Plan) -> Iterator[str]:
    try:
        table = ClaimTable(plan.name, plan.table)
    except ValueError as error:
        yield str(error)
        return
    for job, other in tables().items():
        if {table.name, table.queue} & {other.name, other.queue}:
            yield f"the table '{table.name}' is taken: {job} has it"
    if table.name in _HOUSE_TABLES:
        yield f"the table '{table.name}' is taken: the claim queues keep their books there"


def _class_of(subject: str) -> str:
    """`VideoUploaded` for `video-uploaded`; a single word could be the name of something else in its module."""
    parts = re.split(r"[-_.]", subject)
    return "".join(part.capitalize() for part in parts) + ("Event" if len(parts) == 1 else "")


def _text_of(subject: str) -> str:
    """A field that holds text: the first of the event that another job emits, `key` where none emits it."""
    emitted = (event for job in event_jobs() for event in emitted_types(handler_of(job)) if event.subject == subject)
    texts = (name for event in emitted for name, field in event.model_fields.items() if field.annotation is str)
    return next(texts, "key")
