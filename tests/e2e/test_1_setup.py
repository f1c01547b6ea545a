"""setup-all.sh sets the platform up, a second run changes nothing, and the API server accepts every manifest."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from tests.repo.manifests.rendered import SOURCES, PodTemplate, Source, of_kind, pods

from environments import load
from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Service
from stack.jobs import ROOT, job_names

from .cluster import (
    JOBS,
    NATS,
    TEST,
    CommandFailed,
    Object,
    is_ready,
    kubectl,
    name_of,
    objects,
    run,
    until,
)
from .inventory import differences, fingerprints

JOB_FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("jobs/*/service.yaml"))
RESIZE = ROOT / "jobs/image-resize/service.yaml"
DEPLOYER = f"system:serviceaccount:{JOBS}:deployer"
SCALED = ("scaledobjects", "scaledjobs")

# Warnings are failures: "would violate PodSecurity" is one.
APPLY = ("apply", "--server-side", "--force-conflicts", "--dry-run=server", "--warnings-as-errors", "-f", "-")
CREATE = ("create", "--dry-run=server", "--warnings-as-errors", "-f", "-")

# Needs a prometheus-operator and has its own test.
MONITORING = "k8s/monitoring"
# The namespaces of these are in the cluster.
EACH_SOURCE = pytest.mark.parametrize(
    "source",
    [one for one in SOURCES if one.environment in (load("prod"), load("test"))],
    ids=lambda source: source.name,
)


def test_a_second_setup_changes_nothing(platform: None) -> None:
    before = fingerprints()
    output = run("k8s/setup-scripts/setup-all.sh", "--yes")
    changed = differences(before, fingerprints())
    assert not changed, "\n".join([*changed, output])


@pytest.mark.parametrize("namespace", [NATS, "keda", TEST])
def test_every_pod_is_ready(platform: None, namespace: str) -> None:
    found = objects("pods", namespace)
    not_ready = [name_of(pod) for pod in found if not is_ready(pod)]
    assert found
    assert not not_ready, kubectl("get", "pods", "-n", namespace, "-o", "wide")


def test_keda_scales_every_job_to_no_pods(deployed: None) -> None:
    until("KEDA scales every job", lambda: not unscaled())
    assert {name_of(thing) for kind in SCALED for thing in objects(kind, JOBS)} >= {*job_names(EventJob, BatchJob)}
    until("no job pod is left", lambda: not unfinished_pods())


@pytest.mark.parametrize("service", job_names(Service))
def test_service_runs(deployed: None, service: str) -> None:
    kubectl("rollout", "status", f"deployment/{service}", "-n", JOBS, "--timeout=120s")


def test_pod_that_is_deleted_while_it_starts_ends_before_its_grace_has_elapsed(deployed: None) -> None:
    """Process 1 ignores SIGTERM until it has installed a handler."""
    [pod] = pods(Source(RESIZE).objects)
    single = as_pod(pod)
    kubectl("create", "-f", "-", given=json.dumps(single))
    until("its container runs", lambda: is_running(name_of(single)), every_s=0.05)
    kubectl("delete", "pod", name_of(single), "-n", JOBS, "--wait=false")
    until("it is gone", lambda: not unfinished_pods(), pod.spec["terminationGracePeriodSeconds"] - 10)


@EACH_SOURCE
def test_the_api_server_accepts_every_manifest(deployed: None, source: Source) -> None:
    # A folder of pinned jobs holds none until the first is pinned, and kubectl refuses to apply nothing.
    if source.objects:
        kubectl(*APPLY, given=yaml.safe_dump_all(source.objects))


def test_the_api_server_accepts_production_with_three_nats_servers(deployed: None, tmp_path: Path) -> None:
    kubectl(*APPLY, given=run("kubectl", "kustomize", str(with_three_nats_servers(tmp_path))))


def test_setup_finds_the_volume_that_three_servers_would_not_read(deployed: None, tmp_path: Path) -> None:
    rendered = run("kubectl", "kustomize", str(with_three_nats_servers(tmp_path)))
    tool = (sys.executable, "-m", "cluster.overlay", "disks")
    assert run(*tool, given=rendered, environment={"PYTHONPATH": str(ROOT / "tools")}) == "data-nats-0"


def test_a_stateful_set_that_is_made_again_takes_over_the_pod_of_nats(deployed: None) -> None:
    """Try what docs/day-two.md does for a bigger disk."""
    before = [pod["metadata"]["uid"] for pod in objects("pods", NATS, "app=nats")]
    kubectl("delete", "statefulset", "nats", "-n", NATS, "--cascade=orphan")
    run("k8s/setup-scripts/setup-all.sh", "--yes")
    kubectl("rollout", "status", "statefulset/nats", "-n", NATS, "--timeout=300s")
    assert [pod["metadata"]["uid"] for pod in objects("pods", NATS, "app=nats")] == before


def test_the_api_server_accepts_monitoring_where_it_knows_its_kinds(deployed: None) -> None:
    if not kubectl("get", "crd", "prometheusrules.monitoring.coreos.com", "--ignore-not-found"):
        pytest.skip("this cluster has no prometheus-operator, whose kinds these are")
    # The guide leaves that namespace to its reader, so each object is tried in one that exists.
    rendered = run("kubectl", "kustomize", MONITORING).replace("namespace: monitoring", f"namespace: {JOBS}")
    kubectl(*APPLY, given=rendered)


@EACH_SOURCE
def test_pod_security_admits_the_pod_of_every_template(deployed: None, source: Source) -> None:
    # Pod Security does not look into a ScaledJob, so its pod is created directly.
    for pod in pods(source.objects):
        admitted = as_pod(pod)
        # The account does not matter to it, and that of the bootstrap Job is there with GitOps only.
        admitted["spec"]["serviceAccountName"] = "default"
        kubectl(*CREATE, given=json.dumps(admitted))


def test_field_that_keda_does_not_know_is_refused(deployed: None) -> None:
    misspelt = scaled_object(name="misspelt", target="nothing")
    misspelt["spec"]["maxReplicas"] = 3
    with pytest.raises(CommandFailed, match=r'unknown field "spec\.maxReplicas"'):
        kubectl(*CREATE, given=json.dumps(misspelt))


def test_second_scaled_object_for_a_deployment_is_refused(deployed: None) -> None:
    # KEDA's webhook refuses it. The API server ignores a webhook that does not answer.
    # The webhook names the HPA where it sees that first, else the ScaledObject.
    with pytest.raises(CommandFailed, match=r"is already managed by the (ScaledObject|hpa)"):
        kubectl(*CREATE, given=json.dumps(scaled_object(name="second", target="image-resize")))


@pytest.mark.parametrize("file", JOB_FILES)
def test_deployer_may_apply_every_job(deployed: None, file: str) -> None:
    kubectl("apply", "--dry-run=server", f"--as={DEPLOYER}", "-f", file)


@pytest.mark.parametrize(
    "what",
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "secrets"),
        ("create", "pods"),
        ("get", "pods"),
        ("get", "configmaps"),
        ("create", "pods/exec"),
        ("create", "pods/portforward"),
        ("create", "rolebindings"),
        ("delete", "deployments"),
    ],
    ids=" ".join,
)
def test_deployer_may_do_nothing_else(deployed: None, what: tuple[str, str]) -> None:
    assert not may(DEPLOYER, *what)
    assert may(DEPLOYER, "patch", "deployments")
    assert not may(DEPLOYER, "patch", "deployments", namespace=NATS)


def test_operator_pauses_a_job_and_changes_nothing_else_of_it(deployed: None) -> None:
    operator = ("--as=somebody", "--as-group=keda-jobs-operators", "--dry-run=server", "-n", JOBS)
    for thing in ("scaledobject/image-resize", "scaledjob/users-batch"):
        kubectl("annotate", thing, "autoscaling.keda.sh/paused=true", *operator)
        with pytest.raises(CommandFailed, match="your rights are for pausing and resuming"):
            kubectl("patch", thing, "--type=merge", "--patch", '{"spec": {"maxReplicaCount": 7}}', *operator)


@pytest.mark.parametrize("job", [*(Path(file).parent.name for file in JOB_FILES), "default"])
def test_jobs_have_no_rights_in_the_cluster(deployed: None, job: str) -> None:
    account = f"system:serviceaccount:{JOBS}:{job}"
    allowed = [what for what in ("get pods", "get secrets", "create pods") if may(account, *what.split())]
    assert not allowed


def is_running(pod: str) -> bool:
    """Return whether the first container of the pod has started."""
    return "running" in kubectl("get", "pod", pod, "-n", JOBS, "-o", "jsonpath={.status.containerStatuses[0].state}")


def unfinished_pods() -> list[str]:
    """Return the pods of jobs that have not ended, without those of services."""
    scaled = job_names(EventJob, BatchJob)
    of_jobs = [pod for pod in objects("pods", JOBS) if pod["metadata"].get("labels", {}).get("app") in scaled]
    return [name_of(pod) for pod in of_jobs if pod["status"].get("phase") in ("Pending", "Running")]


def unscaled() -> list[str]:
    """Return the jobs whose ScaledObject or ScaledJob is not ready."""
    return [name_of(thing) for kind in SCALED for thing in objects(kind, JOBS) if not is_ready(thing)]


def as_pod(pod: PodTemplate) -> Object:
    """Build the pod of a template, the first where there may be several."""
    owner = pod.owner["metadata"]
    metadata = {"name": "admitted", "namespace": owner["namespace"], "labels": pod.labels}
    names = [name_of(claim) for claim in pod.owner["spec"].get("volumeClaimTemplates", ())]
    claimed = [{"name": name, "persistentVolumeClaim": {"claimName": f"{name}-{owner['name']}-0"}} for name in names]
    spec = {"restartPolicy": "Never"} | pod.spec | {"volumes": pod.volumes + claimed}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def with_three_nats_servers(folder: Path) -> Path:
    """Write a kustomization of production with three NATS servers."""
    parts = {"resources": "overlays/prod", "components": "components/nats-cluster"}
    relative = {key: [os.path.relpath(ROOT / "k8s/kustomize" / part, folder.resolve())] for key, part in parts.items()}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(relative))
    return folder


def scaled_object(name: str, target: str) -> Object:
    """Build the ScaledObject of image-resize with another name and target."""
    [original] = of_kind(Source(RESIZE).objects, "ScaledObject")
    metadata = original["metadata"] | {"name": name}
    return original | {"metadata": metadata, "spec": original["spec"] | {"scaleTargetRef": {"name": target}}}


def may(user: str, verb: str, resource: str, namespace: str = JOBS) -> bool:
    """Return whether the API server would let `user` do it."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes(verb, resource, namespace)},
    }
    answer = json.loads(kubectl("create", "-o", "json", "-f", "-", given=json.dumps(review)))
    return bool(answer["status"]["allowed"])


def attributes(verb: str, resource: str, namespace: str) -> Mapping[str, str]:
    """Describe a request for a review."""
    name, _, part = resource.partition("/")
    group = {"deployments": "apps", "rolebindings": "rbac.authorization.k8s.io"}.get(name, "")
    return {"verb": verb, "group": group, "resource": name, "subresource": part, "namespace": namespace}
