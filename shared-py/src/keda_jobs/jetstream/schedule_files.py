"""`[[schedules]]` of `jobs/*/job.toml`, as the messages that hold them on the server."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.schedule import DeclaredSchedule, Schedules, format_mistake
from keda_jobs.domain.subjects import due_subject
from keda_jobs.errors import Misconfigured


class _JobToml(BaseModel):
    """The part of a job.toml that NATS holds. `make job-files` checks the others."""

    schedules: Schedules = []


def read_schedules(jobs: Path, filters: Mapping[str, Iterable[str]]) -> tuple[Outgoing, ...]:
    """Read the schedules of each job in the folder `jobs`, whose consumers have these filters.

    Raises `Misconfigured`, which names every mistake.
    """
    messages: list[Outgoing] = []
    mistakes: list[str] = []
    for path in sorted(jobs.glob("*/job.toml")):
        job = path.parent.name
        try:
            messages += _messages(job, _read(path), filters.get(job, ()))
        except ValidationError as error:
            mistakes += (f"{path}: {format_mistake(detail)}" for detail in error.errors())
        except (OSError, ValueError) as error:
            mistakes.append(f"{path}: {error}")
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    return tuple(messages)


def _read(path: Path) -> list[DeclaredSchedule]:
    """Read one file. Raises `OSError`, `ValueError`."""
    return _JobToml.model_validate(tomllib.loads(path.read_text())).schedules


def _messages(job: str, schedules: Iterable[DeclaredSchedule], filters: Iterable[str]) -> Iterator[Outgoing]:
    """Build the messages of one job. Raises `ValueError`."""
    subjects = [subject for subject in filters if subject != due_subject(job)]
    for schedule in schedules:
        if len(subjects) != 1:
            raise ValueError("schedules: the job's consumer.json must name one event, which they publish")
        yield schedule.message(job, subjects[0])
