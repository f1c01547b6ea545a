"""Rules for pods: Pod Security "restricted" and more. A rule yields what is wrong with a pod."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stack.jobs import job_names

from .rendered import SOURCES, Object, PodTemplate, Source, pods, shown

Rule = Callable[[PodTemplate], Iterator[str]]

JOBS = job_names()
WITH_TOKEN = {"bootstrap", "ops"}  # one makes Secrets, people run kubectl in the other
_VOLUMES = {"configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def users_and_seccomp_are_restricted(pod: PodTemplate) -> Iterator[str]:
    security = pod.spec.get("securityContext", {})
    yield from expected(security, "runAsNonRoot", True)
    yield from expected(security, "seccompProfile", {"type": "RuntimeDefault"})
    if not security.get("runAsUser"):
        yield "securityContext.runAsUser has to be a number that is not root's"


def no_container_gets_more_rights(pod: PodTemplate) -> Iterator[str]:
    for container in pod.containers:
        security = container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        for key, value in wanted.items():
            yield from expected(security, key, value, container)
        for key in security.keys() & {"privileged", "procMount", "runAsNonRoot", "runAsUser", "seccompProfile"}:
            yield f"container {container['name']} sets {key}: leave that to the pod"


def nothing_of_the_node_is_shared(pod: PodTemplate) -> Iterator[str]:
    for key in pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}:
        yield f"{key} is set"
    for container in pod.containers:
        if any("hostPort" in port for port in container.get("ports", ())):
            yield f"container {container['name']} takes a port of the node"
    for volume in pod.volumes:
        for kind in volume.keys() - {"name"} - _VOLUMES:
            yield f"volume {volume['name']} is a {kind}"


def no_token_or_service_variables_are_given(pod: PodTemplate) -> Iterator[str]:
    yield from expected(pod.spec, "automountServiceAccountToken", pod.labels["app"] in WITH_TOKEN)
    yield from expected(pod.spec, "enableServiceLinks", False)


def a_job_receives_sigterm_from_its_start(pod: PodTemplate) -> Iterator[str]:
    """Require another process 1, because the kernel withholds a signal from it until it has a handler."""
    if pod.labels["app"] in JOBS:
        yield from expected(pod.spec, "shareProcessNamespace", True)


def resources_are_requested_and_limited(pod: PodTemplate) -> Iterator[str]:
    for container in pod.containers:
        for bound in ("requests", "limits"):
            given = container.get("resources", {}).get(bound, {})
            for resource in ("cpu", "memory"):
                if resource not in given:
                    yield f"container {container['name']} has no resources.{bound}.{resource}"


def scratch_space_is_limited(pod: PodTemplate) -> Iterator[str]:
    for volume in pod.volumes:
        if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
            yield f"emptyDir {volume['name']} has no sizeLimit"


def liveness_and_readiness_have_probes(pod: PodTemplate) -> Iterator[str]:
    if pod.owner["kind"] in ("Job", "CronJob"):  # it ends by itself, and serves nobody
        return
    for container in pod.spec["containers"]:
        for probe in ("livenessProbe", "readinessProbe"):
            if probe not in container:
                yield f"container {container['name']} has no {probe}"


def its_grace_period_is_set(pod: PodTemplate) -> Iterator[str]:
    if "terminationGracePeriodSeconds" not in pod.spec:
        yield "terminationGracePeriodSeconds is not set"


def images_have_a_fixed_version(pod: PodTemplate) -> Iterator[str]:
    for container in pod.containers:
        if not re.search(r"@sha256:|:(?!latest$)[\w.-]+$", container["image"]):
            yield f"container {container['name']}: image {container['image']} needs a tag that stays"


def its_owner_selects_it_by_its_app(pod: PodTemplate) -> Iterator[str]:
    name = pod.owner["metadata"]["name"]
    yield from expected(pod.labels, "app", name)
    yield from expected(pod.labels, "app.kubernetes.io/part-of", "keda-jobs")
    selector = pod.owner["spec"].get("selector")
    if selector not in (None, {"matchLabels": {"app": name}}):
        yield f"selector is {selector}, not the label app"


RULES: list[Rule] = [
    users_and_seccomp_are_restricted,
    no_container_gets_more_rights,
    nothing_of_the_node_is_shared,
    no_token_or_service_variables_are_given,
    a_job_receives_sigterm_from_its_start,
    resources_are_requested_and_limited,
    scratch_space_is_limited,
    liveness_and_readiness_have_probes,
    its_grace_period_is_set,
    images_have_a_fixed_version,
    its_owner_selects_it_by_its_app,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_pod_keeps_the_rule(source: Source, rule: Rule) -> None:
    faults = [f"{pod}: {fault}" for pod in pods(source.objects) for fault in rule(pod)]
    assert not faults, "\n".join(faults)


def test_pods_are_found_in_every_kind_that_makes_one() -> None:
    objects = [thing for source in SOURCES for thing in source.objects]
    found = {shown(pod.owner) for pod in pods(objects)}
    assert {shown(thing) for thing in objects if '"containers"' in str(thing).replace("'", '"')} == found


def expected(given: Object, key: str, value: Any, container: Object | None = None) -> Iterator[str]:
    if given.get(key) != value:
        where = f"container {container['name']}: " if container else ""
        yield f"{where}{key} has to be {value}, not {given.get(key)}"
