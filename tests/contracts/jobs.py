"""The event jobs of the repository, as their folders, declarations and event classes describe them."""

from __future__ import annotations

import importlib
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keda_jobs import Event, JobSettings
from keda_jobs.job import event_type
from stack import event_jobs
from stack.jobs import ROOT


@dataclass(frozen=True, slots=True)
class EventJob:
    """One job folder."""

    name: str

    @property
    def folder(self) -> Path:
        """`jobs/<job>`."""
        return ROOT / "jobs" / self.name

    @property
    def package(self) -> str:
        """The name it is imported by."""
        return self.name.replace("-", "_")

    @property
    def declared(self) -> dict[str, Any]:
        """Its `consumer.json`."""
        declared: dict[str, Any] = json.loads((self.folder / "consumer.json").read_text())
        return declared

    @property
    def settings(self) -> type[JobSettings]:
        """Its settings class."""
        settings: type[JobSettings] = importlib.import_module(f"{self.package}.settings").Settings
        return settings

    @property
    def read(self) -> type[Event]:
        """The event that its handler is annotated with."""
        module = importlib.import_module(f"{self.package}.handler")
        [handler] = [value for value in vars(module).values() if _is_handler(value, module.__name__)]
        return event_type(handler)

    @property
    def written(self) -> list[type[Event]]:
        """The events of its own that it does not read."""
        module = importlib.import_module(f"{self.package}.events")
        events = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Event)]
        return [event for event in events if event.__module__ == module.__name__ and event is not self.read]


def _is_handler(value: object, module: str) -> bool:
    """Whether it is an async function of an event and a context, made in `module`."""
    if not (inspect.iscoroutinefunction(value) and value.__module__ == module):
        return False
    return len(inspect.signature(value).parameters) == 2


JOBS = [EventJob(name) for name in event_jobs()]
STREAM_SUBJECTS: list[str] = json.loads((ROOT / "jobs" / "stream.json").read_text())["subjects"]
