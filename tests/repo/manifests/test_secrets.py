"""Every secret that a manifest reads is made, with the key that is read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest
import yaml

from cluster.secrets import postgres_data
from keda_jobs.runtime.job import Job
from stack.jobs import ROOT

from .jobs import JOBS, JobManifest
from .rendered import SOURCES, Object, PodTemplate, Source, of_kind, pods

# Namespace and name of a secret, and its keys.
Secrets = dict[tuple[str, str], set[str]]
ANY_KEY = ""


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_secret_that_is_read_is_made(source: Source) -> None:
    made = made_secrets()
    missing = [
        f"{namespace}/{name}: {key or 'the secret'}"
        for namespace, name, key in read_secrets(source.objects)
        if (namespace, name) not in made or key not in made[namespace, name] | {ANY_KEY}
    ]
    assert not missing, f"neither k8s/manual nor tools/nats_users.py makes {sorted(set(missing))}"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_key_of_a_secret_in_env_from_is_a_setting(job: JobManifest[Job]) -> None:
    for source in job.container["envFrom"]:
        if "secretRef" in source:
            assert made_secrets()["keda-jobs-prod", source["secretRef"]["name"]] <= job.variables


def test_nats_configuration_includes_its_users() -> None:
    assert made_secrets()["nats", "nats-auth"] == {"auth.conf", "routes.conf"}
    assert "include ../auth/auth.conf" in (ROOT / "k8s/nats/config/nats.conf").read_text()


def read_secrets(objects: list[Object]) -> Iterator[tuple[str, str, str]]:
    """Yield namespace, name and key of each secret that pods and KEDA read."""
    for pod in pods(objects):
        for name, key in read_by_pod(pod):
            yield pod.owner["metadata"]["namespace"], name, key
    for thing in of_kind(objects, "TriggerAuthentication"):
        for one in thing["spec"]["secretTargetRef"]:
            yield thing["metadata"]["namespace"], one["name"], one["key"]


def read_by_pod(pod: PodTemplate) -> Iterator[tuple[str, str]]:
    """Yield name and key."""
    for container in pod.containers:
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                yield source["secretRef"]["name"], ANY_KEY
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
    for volume in pod.volumes:
        if "secret" in volume:
            yield volume["secret"]["secretName"], ANY_KEY


@cache
def made_secrets() -> Secrets:
    """Collect the secrets of `make -C k8s secrets` and `tools/nats_users.py`."""
    templates = [yaml.safe_load(path.read_text()) for path in sorted(ROOT.glob("k8s/manual/*/*.yaml.tpl"))]
    things = templates + nats_secrets()
    return {(thing["metadata"]["namespace"], thing["metadata"]["name"]): keys_of(thing) for thing in things}


def keys_of(secret: Object) -> set[str]:
    """List the keys of a secret. Those of `postgres` come from the roles of all batch jobs and the exporter."""
    if secret.get("data") == "${POSTGRES_DATA}":
        return set(postgres_data({"PG_DSN": "postgresql://owner:password@host/database?sslmode=require"}, {}))
    return set(secret.get("data", {})) | set(secret.get("stringData", {}))


def nats_secrets() -> list[Object]:
    """Run the tool for a cluster without secrets."""
    nothing = json.dumps({"apiVersion": "v1", "kind": "List", "items": []})
    command = [sys.executable, str(ROOT / "tools/nats_users.py")]
    ended = subprocess.run(command, input=nothing, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    made: list[Object] = json.loads(ended.stdout)["items"]
    return made
