"""Schedules of a `job.toml`: events that NATS publishes again and again, as scheduled messages (ADR-51)."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import ErrorDetails

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.cron import six_fields
from keda_jobs.domain.delay import MAX_DELAY, delayed_subject
from keda_jobs.domain.durations import parse_duration
from keda_jobs.domain.event import InvalidEvent, check_strict_json
from keda_jobs.domain.headers import Header
from keda_jobs.domain.subjects import delay_fire_subject

DECLARED = "declared"
"""First part of the sender of all schedules of job.toml."""


def _every(text: str) -> str:
    seconds = parse_duration(text)
    if not 1 <= seconds <= MAX_DELAY.total_seconds() or seconds % 1:
        raise ValueError(f"{text!r} is not a number of whole seconds from 1s to {MAX_DELAY.days}d")
    return f"@every {int(seconds)}s"


def _timezone(name: str) -> str:
    # NATS also takes `Local`, which is whatever its server is set to.
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no time zone such as Europe/Berlin or UTC")
    return name


def _event(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        check_strict_json(_encode(fields))
    except (TypeError, InvalidEvent) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from error
    return fields


def _encode(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


class DeclaredSchedule(BaseModel):
    """Rule of a job.toml, and the event that is published by it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=63)] = Field(
        description="name of the schedule, unique in the job"
    )
    cron: Annotated[str, AfterValidator(six_fields)] | None = Field(
        None, description="when to publish: minute, hour, day, month, weekday. A sixth field in front is the second"
    )
    timezone: Annotated[str, AfterValidator(_timezone)] | None = Field(
        None, description='time zone of `cron`, as `"Europe/Berlin"`. UTC by default'
    )
    every: Annotated[str, AfterValidator(_every)] | None = Field(
        None, description='time between two events, in place of `cron`: `"90s"`, `"1h30m"`, `"1d"`'
    )
    event: Annotated[dict[str, Any], AfterValidator(_event)] = Field(description="fields of the event")

    @model_validator(mode="after")
    def _has_one_rule(self) -> DeclaredSchedule:
        if (self.cron is None) == (self.every is None):
            raise ValueError("write either cron or every")
        if self.every is not None and self.timezone is not None:
            raise ValueError("every has no timezone; leave it out, or write cron")
        return self

    def body(self) -> bytes:
        """Return the event as JSON."""
        return _encode(self.event)

    def message(self, job: str, subject: str) -> Outgoing:
        """Build the message that has NATS publish the event on `subject`. It has no id yet."""
        headers: dict[str, str] = {
            Header.SCHEDULE: self.cron or self.every or "",
            Header.SCHEDULE_TARGET: delay_fire_subject(subject),
        }
        if self.timezone is not None:
            headers[Header.SCHEDULE_TIME_ZONE] = self.timezone
        return Outgoing(delayed_subject(f"{DECLARED}.{job}", self.name), self.body(), "", headers)


def _unique_names(schedules: list[DeclaredSchedule]) -> list[DeclaredSchedule]:
    for name, count in Counter(schedule.name for schedule in schedules).items():
        if count > 1:
            raise ValueError(f"{count} schedules have the name {name}")
    return schedules


Schedules = Annotated[list[DeclaredSchedule], AfterValidator(_unique_names)]


def format_mistake(detail: ErrorDetails) -> str:
    """Format what pydantic finds wrong in a job.toml: the key, and the reason."""
    key = ".".join(map(str, detail["loc"]))
    match detail["type"]:
        case "missing":
            return f"{key} is missing"
        case "extra_forbidden":
            return f"{key} is no key of this kind of job; docs/job-toml.md lists them"
        case _:
            return f"{key}: {detail['msg'].removeprefix('Value error, ')}"
