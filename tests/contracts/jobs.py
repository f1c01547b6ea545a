"""The event jobs of the repository, as their folders, declarations and event classes describe them."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keda_jobs import Event, JobSettings
from keda_jobs.event.job import emitted_types, event_type
from stack import event_jobs
from stack.jobs import ROOT, handler_of, package_of


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
        return package_of(self.name)

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
        return event_type(handler_of(self.name))

    @property
    def written(self) -> list[type[Event]]:
        """The events that its handler returns."""
        return emitted_types(handler_of(self.name))


JOBS = [EventJob(name) for name in event_jobs()]
STREAM_SUBJECTS: list[str] = json.loads((ROOT / "jobs" / "stream.json").read_text())["subjects"]
