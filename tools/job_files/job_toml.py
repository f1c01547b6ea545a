"""`jobs/<job>/job.toml`: how to run a job. What it does, and so its kind, is in its `JOB`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from tomlkit.exceptions import TOMLKitError

from generated_files import SourceError
from keda_jobs.domain.event import InvalidEvent
from keda_jobs.domain.schedule import Schedules, format_mistake
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Job

Cpu = Annotated[str, StringConstraints(pattern=r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$")]
Memory = Annotated[str, StringConstraints(pattern=r"^[0-9]+(Ki|Mi|Gi)$")]
Count = Annotated[int, Field(ge=1)]
Scalar = str | int | float


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Amounts(_Table):
    """Amounts of a pod's resources."""

    cpu: Cpu = Field(description='cores, as `"1"` or `"250m"`')
    memory: Memory = Field(description='as `"256Mi"`')


class Resources(_Table):
    """Resources of one pod."""

    requests: Amounts
    limits: Amounts


class EventScale(_Table):
    """Scaling of an event job."""

    max_replicas: Count = Field(description="most pods at once")
    lag_threshold: Count = Field(description="messages for each pod. More than one pod's CONCURRENCY")
    wake_with: list[str] = Field(
        default_factory=list,
        description="event jobs whose lag starts the first pod of this one too, so that it is ready for what they emit",
    )
    polling_s: Count = Field(5, description="seconds between two looks at the lag, while there is no pod")
    cooldown_s: Count = Field(30, description="seconds without lag before the last pod goes")


class LongScale(_Table):
    """Scaling of a long job."""

    max_replicas: Count = Field(description="most pods at once, each with one message")
    polling_s: Count = Field(10, description="seconds between two looks at the lag")


class BatchScale(_Table):
    """Scaling of a batch job."""

    max_replicas: Count = Field(description="most Jobs at once, which is what the database can take")
    polling_s: Count = Field(30, description="seconds between two looks at the queue")


class ServiceToml(_Table):
    """Keys that every kind has."""

    resources: Resources
    settings: dict[str, Scalar] = Field(
        default_factory=dict, description="settings that differ from their defaults in every environment"
    )


class _WorkToml(ServiceToml):
    internet: bool = Field(False, description="true for a job that may reach public addresses, on ports 80 and 443")


class _EventsToml(_WorkToml):
    schedules: Schedules = Field(default_factory=list)


class EventToml(_EventsToml):
    """Keys of an event job."""

    scale: EventScale


class LongToml(_EventsToml):
    """Keys of a long job."""

    scale: LongScale


class BatchToml(_WorkToml):
    """Keys of a batch job."""

    scale: BatchScale
    trigger_authentication: str | None = Field(
        None, description="name of the TriggerAuthentication that KEDA logs in with, `<job>-pgconn` by default"
    )


KINDS: dict[str, type[ServiceToml]] = {
    "event": EventToml,
    "long": LongToml,
    "batch": BatchToml,
    "service": ServiceToml,
}


class JobToml:
    """Values of a `job.toml`, and the comments beside them."""

    def __init__(self, path: Path, job: Job, others: Sequence[Job], shown: str) -> None:
        """Read and check the file, called `shown` in messages. Raises `SourceError`."""
        try:
            self._document = tomlkit.parse(path.read_text())
            self.values = KINDS[job.kind].model_validate(self._document.unwrap())
        except ValidationError as error:
            mistakes = dict.fromkeys(map(_mistake, error.errors()))
            raise SourceError("\n".join(f"{shown}: {mistake}" for mistake in mistakes)) from error
        except OSError as error:
            raise SourceError(f"{shown}: {error.strerror}") from error
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise SourceError(f"{shown}: {' '.join(str(error).split())}") from error
        self._job = job
        wrong = [*self._wrong_settings(), *self._wrong_wakers(others), *self._wrong_schedules()]
        if wrong:
            raise SourceError("\n".join(f"{shown}: {mistake}" for mistake in wrong))

    def comment(self, key: str, otherwise: str = "") -> str:
        """Return the comment on the line of `key`, such as `scale.max_replicas`, in YAML's form."""
        item: Any = self._document
        for part in key.split("."):
            if part not in item:
                return f" # {otherwise}" if otherwise else ""
            item = item[part]
        text = item.trivia.comment.removeprefix("#").strip() or otherwise
        return f" # {text}" if text else ""

    def setting(self, name: str) -> Any:
        """Return a setting of the job: from the file, else its default."""
        field = self._job.settings.model_fields[name]
        given = self.values.settings.get(name.upper(), field.default)
        kind: Any = Annotated[field.annotation, field]
        return TypeAdapter(kind).validate_python(given)

    def _wrong_settings(self) -> Iterator[str]:
        known = {name.upper() for name in self._job.settings.model_fields}
        for name in self.values.settings:
            if name not in known:
                yield f"settings.{name}: the job has no such setting; its README lists them"
                continue
            try:
                self.setting(name.lower())
            except ValidationError as error:
                yield f"settings.{name}: {error.errors()[0]['msg']}"

    def _wrong_wakers(self, others: Sequence[Job]) -> Iterator[str]:
        """Yield the names in `wake_with` of jobs that emit nothing that this job reads."""
        if not (isinstance(self._job, EventJob) and isinstance(self.values, EventToml)):
            return
        subject = self._job.event.subject
        events = {other.name: other for other in others if isinstance(other, EventJob)}
        for name in self.values.scale.wake_with:
            if name not in events or subject not in {event.subject for event in events[name].outputs.events}:
                yield f"scale.wake_with: there is no job '{name}' that emits {subject}"

    def _wrong_schedules(self) -> Iterator[str]:
        """Yield the schedules whose event the job could not read."""
        if not (isinstance(self._job, EventJob) and isinstance(self.values, _EventsToml)):
            return
        for schedule in self.values.schedules:
            try:
                self._job.event.decode(schedule.body())
            except InvalidEvent as error:
                yield f"schedules: the event of {schedule.name} is refused: {error}"


def _mistake(error: ErrorDetails) -> str:
    if error["loc"][0] == "settings" and len(error["loc"]) > 1:
        return f"settings.{error['loc'][1]} must be a number or a text"
    return format_mistake(error)
