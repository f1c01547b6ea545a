"""Jobs as their manifests describe them, with their `JOB`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from unittest import mock

from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Job, Service
from keda_jobs.settings import load_settings
from stack import all_jobs, jobs_of
from stack.jobs import ROOT

from .rendered import Object, PodTemplate, Source, of_kind, pods

# Values for variables from secrets, any that the settings classes accept.
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


J_co = TypeVar("J_co", bound=Job, covariant=True)


@dataclass(frozen=True, slots=True)
class JobManifest(Generic[J_co]):
    """One job and its manifest."""

    declared: J_co

    @property
    def name(self) -> str:
        """Name of the job and its folder."""
        return self.declared.name

    @property
    def objects(self) -> list[Object]:
        """Objects of its `service.yaml`."""
        return Source(ROOT / "jobs" / self.name / "service.yaml").objects

    @property
    def pod(self) -> PodTemplate:
        """Pod that does its work."""
        [pod] = pods(self.objects)
        return pod

    @property
    def container(self) -> Object:
        """Container of its pod."""
        [container] = self.pod.containers
        return dict(container)

    @property
    def environment(self) -> dict[str, str | None]:
        """Variables in the manifest with their values, None for those from elsewhere."""
        return {variable["name"]: variable.get("value") for variable in self.container.get("env", ())}

    @property
    def variables(self) -> set[str]:
        """Variables that the job's settings read."""
        return {name.upper() for name in self.declared.settings.model_fields}

    @property
    def settings(self) -> Any:
        """Settings in the cluster: the manifest's values, else the defaults. Raises `Misconfigured`."""
        given = {name: value for name, value in self.environment.items() if value is not None and name != "SECRETS_DIR"}
        with mock.patch.dict(os.environ, _FROM_SECRETS | given, clear=True):
            return load_settings(self.declared.settings)

    @property
    def memory_limit(self) -> float:
        """Memory limit of its container, in bytes."""
        return quantity(self.container["resources"]["limits"]["memory"])

    def one(self, kind: str) -> Object:
        """Return its only object of that kind."""
        [found] = of_kind(self.objects, kind)
        return found

    def trigger(self, kind: str) -> dict[str, str]:
        """Return the metadata of the first trigger of its ScaledObject or ScaledJob: its own work."""
        return self.triggers(kind)[0]

    def triggers(self, kind: str) -> list[dict[str, str]]:
        """Return the metadata of every trigger of its ScaledObject or ScaledJob."""
        return [dict(trigger["metadata"]) for trigger in self.one(kind)["spec"]["triggers"]]


def quantity(text: str) -> float:
    """Convert a Kubernetes quantity to a number of bytes or cores."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    assert found, text
    return float(found[1]) * _UNITS[found[2]]


JOBS = [JobManifest(job) for job in all_jobs()]
EVENT_JOBS = [JobManifest(job) for job in jobs_of(EventJob) if not job.ends]
SERVICES = [JobManifest(job) for job in jobs_of(Service)]
