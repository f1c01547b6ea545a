"""The jobs as their manifests describe them, beside what their folders and packages declare."""

from __future__ import annotations

import importlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from keda_jobs.batch import BatchJob
from keda_jobs.settings import ProcessSettings, load_settings
from stack import batch_jobs, event_jobs, services
from stack.jobs import ROOT, package_of

from .pods import PodTemplate, pods
from .rendered import Object, Source, of_kind

# What secrets bring: any value that the settings classes accept.
_FROM_SECRETS = {
    "NATS_USER": "user",
    "NATS_PASSWORD": "password",
    "R2_ENDPOINT_URL": "https://store.example",
    "R2_ACCESS_KEY_ID": "key",
    "R2_SECRET_ACCESS_KEY": "secret",
    "R2_BUCKET": "bucket",
    "PG_DSN": "postgresql://user:password@host:5432/database",
}
_UNITS = {"": 1, "m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True, slots=True)
class JobManifest:
    """One job or service: its folder's name is its own."""

    name: str

    @property
    def folder(self) -> Path:
        """`jobs/<job>`."""
        return ROOT / "jobs" / self.name

    @property
    def objects(self) -> list[Object]:
        """What its `service.yaml` holds."""
        return Source(self.folder / "service.yaml").objects

    @property
    def pod(self) -> PodTemplate:
        """The pod that does its work."""
        [pod] = pods(self.objects)
        return pod

    @property
    def container(self) -> Object:
        """The container of its pod."""
        [container] = self.pod.containers
        return dict(container)

    @property
    def environment(self) -> dict[str, str | None]:
        """The variables that the manifest names, with the values it gives: None for those that come from elsewhere."""
        return {variable["name"]: variable.get("value") for variable in self.container.get("env", ())}

    @property
    def settings_class(self) -> type[ProcessSettings]:
        """What it reads from its environment."""
        settings: type[ProcessSettings] = importlib.import_module(f"{package_of(self.name)}.settings").Settings
        return settings

    @property
    def settings(self) -> Any:
        """Its settings in the cluster: the manifest's values, else the defaults. Raises `Misconfigured`."""
        given = {name: value for name, value in self.environment.items() if value is not None}
        with mock.patch.dict(os.environ, _FROM_SECRETS | given, clear=True):
            return load_settings(self.settings_class)

    @property
    def memory_limit(self) -> float:
        """The most memory that its container gets, in bytes."""
        return quantity(self.container["resources"]["limits"]["memory"])

    @property
    def declared_consumer(self) -> Object:
        """Its `consumer.json`."""
        declared: Object = json.loads((self.folder / "consumer.json").read_text())
        return declared

    @property
    def batch_job(self) -> BatchJob:
        """What its `job` module declares."""
        job: BatchJob = importlib.import_module(f"{package_of(self.name)}.job").JOB
        return job

    def one(self, kind: str) -> Object:
        """Its only object of that kind."""
        [thing] = of_kind(self.objects, kind)
        return thing

    def trigger(self, kind: str) -> dict[str, str]:
        """The metadata of the only trigger of its ScaledObject or ScaledJob."""
        [trigger] = self.one(kind)["spec"]["triggers"]
        return dict(trigger["metadata"])


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: bytes, or cores."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    assert found, text
    return float(found[1]) * _UNITS[found[2]]


EVENT_JOBS = [JobManifest(name) for name in event_jobs()]
BATCH_JOBS = [JobManifest(name) for name in batch_jobs()]
SERVICES = [JobManifest(name) for name in services()]
JOBS = EVENT_JOBS + BATCH_JOBS + SERVICES
