"""Every secret that a manifest reads is made, with the key that is read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import yaml

from cluster.certificates import servers
from cluster.secrets import render
from environments import load
from keda_jobs.runtime.job import Job
from keda_jobs.settings import PgSettings
from nats_users import users, wanted
from stack.jobs import ROOT

from .jobs import JOBS, JobManifest
from .rendered import SOURCES, Object, PodTemplate, Source, neutral_names, of_kind, pods

# Neutral namespace and name of a secret, and its keys.
Secrets = dict[tuple[str, str], set[str]]
ANY_KEY = ""

_GIVEN = {
    "PG_DSN": "postgresql://owner:password@host/database?sslmode=require",
    "R2_REGION": "eu-central-1",
    **{f"R2_{name}": "given" for name in ("ENDPOINT_URL", "BUCKET", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")},
    **{f"REGISTRY_{name}": "given" for name in ("HOST", "USER", "PASSWORD")},
}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_secret_that_is_read_is_made(source: Source) -> None:
    neutral = source.neutral_names
    certificates = {(neutral[one.namespace], one.secret): {ANY_KEY} for one in servers(source.objects)}
    made = made_secrets() | certificates
    read = [(neutral[namespace], name, key) for namespace, name, key in read_secrets(source.objects)]
    missing = [
        f"{namespace}/{name}: {key or 'the secret'}"
        for namespace, name, key in read
        if (namespace, name) not in made or key not in made[namespace, name] | {ANY_KEY}
    ]
    assert not missing, f"neither k8s/manual nor a tool makes {sorted(set(missing))}"


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_file_of_a_secret_is_a_setting_and_none_is_in_the_environment(job: JobManifest[Job]) -> None:
    known = job.variables | {name.upper() for name in PgSettings.model_fields}  # the exporter's are apart
    [folder] = [volume for volume in job.pod.volumes if "projected" in volume]
    for source in folder["projected"]["sources"]:
        keys = {item["path"] for item in source["secret"].get("items", ())}
        assert (keys or made_secrets()["jobs", source["secret"]["name"]]) <= known
    assert not any("secretRef" in source for source in job.container["envFrom"])
    [mount] = [mount for mount in job.container["volumeMounts"] if mount["name"] == folder["name"]]
    assert job.environment["SECRETS_DIR"] == mount["mountPath"]


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
            if "secretRef" in source and not source["secretRef"].get("optional"):
                yield source["secretRef"]["name"], ANY_KEY
        for variable in container.get("env", ()):
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield reference["name"], reference["key"]
    for volume in pod.volumes:
        if "secret" in volume:
            yield volume["secret"]["secretName"], ANY_KEY
        for source in volume.get("projected", {}).get("sources", ()):
            for item in source["secret"].get("items", ({"key": ANY_KEY},)):
                yield source["secret"]["name"], item["key"]


@cache
def made_secrets() -> Secrets:
    """Collect the secrets of `make -C k8s secrets` and `tools/nats_users.py`, in neutral namespaces."""
    test = load("test")  # it has all of them
    neutral = neutral_names(test)
    rendered = render(sorted(ROOT.glob("k8s/manual/*.yaml.tpl")), test, _GIVEN, {})
    things = [*yaml.safe_load_all(rendered), *nats_secrets()]
    return {
        (neutral[thing["metadata"]["namespace"]], thing["metadata"]["name"]): set(thing["data"]) for thing in things
    }


def nats_secrets() -> list[Object]:
    """Make those of a cluster without secrets."""
    return list(wanted(users(), {}))
