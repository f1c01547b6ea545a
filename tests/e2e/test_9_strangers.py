"""A NATS, an adapter or a KEDA of others: setup changes nothing of theirs, and teardown removes nothing of theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from .cluster import JOBS, NATS, CommandFailed, Object, kubectl, run

pytestmark = pytest.mark.slow

SETUP, TEARDOWN = "k8s/setup-scripts/setup-all.sh", "k8s/setup-scripts/teardown-all.sh"
# Without test servers, which are in nobody's way.
PROD = {"ENV": "prod"}
METRICS_API = "v1beta1.external.metrics.k8s.io"
THEIRS = "keda-jobs-e2e-theirs"
TEAM = "keda-jobs-e2e-team"


@pytest.fixture(scope="module", autouse=True)
def empty(images: None) -> None:
    """Remove what the other tests have set up."""
    run(TEARDOWN, "--yes", "--delete-data")
    if kubectl("get", "deployments", "-A", "--field-selector=metadata.name=keda-operator", "-o", "name"):
        pytest.skip("this cluster has a KEDA that is not ours")


def test_nats_of_others_is_in_the_way_and_stays() -> None:
    with created(namespace(NATS), workload("StatefulSet", "nats", NATS, serviceName="nats"), service("nats", NATS)):
        assert refusal() == "namespace nats is not ours: Namespace nats, Service nats, StatefulSet nats"
        run(TEARDOWN, "--yes", "--delete-data")
        assert kubectl("get", "statefulset,service", "-n", NATS, "-o", "name").split() == [
            "statefulset.apps/nats",
            "service/nats",
        ]


def test_nats_of_others_in_a_namespace_of_ours_is_in_the_way_and_stays() -> None:
    ours = namespace(NATS, {"app.kubernetes.io/part-of": "keda-jobs"})
    with created(ours, workload("StatefulSet", "nats", NATS, serviceName="nats")):
        assert refusal() == "namespace nats has objects of others that setup would overwrite: StatefulSet nats"
        run(TEARDOWN, "--yes", "--delete-data")
        assert kubectl("get", "statefulset", "-n", NATS, "-o", "name").split() == ["statefulset.apps/nats"]


def test_adapter_of_others_keeps_the_api_of_external_metrics() -> None:
    with created(metrics_api(THEIRS)):
        assert refusal() == f"external metrics are served by another adapter, {THEIRS}/adapter, and a cluster has one"
        run(TEARDOWN, "--yes", "--delete-data")
        served_by = kubectl("get", "apiservice", METRICS_API, "-o", "jsonpath={.spec.service.namespace}")
        assert served_by == THEIRS


def test_keda_of_others_below_the_floor_is_refused() -> None:
    with created(namespace(THEIRS), keda_operator("2.15.1")):
        assert refusal() == f"KEDA 2.15.1 in {THEIRS} is too old"


def test_keda_of_others_is_let_in_wherever_it_is_and_stays() -> None:
    with created(namespace(THEIRS), keda_operator("2.20.2")):
        run(SETUP, "--part", "cluster", "--yes")
        assert "keda-jobs/keda" in labels(THEIRS)
        run(TEARDOWN, "--yes", "--delete-data")
        assert "keda-jobs/keda" not in labels(THEIRS)
        assert kubectl("get", "deployment", "keda-operator", "-n", THEIRS, "-o", "name")


def test_namespace_of_others_with_keda_s_name_is_not_taken() -> None:
    with created(namespace("keda")):
        assert refusal() == "there is a namespace keda without a KEDA, and teardown-all.sh would remove it"


def test_the_role_admin_in_the_namespaces_is_enough_for_their_part(tmp_path: Path) -> None:
    run(SETUP, "--part", "cluster", "--yes", environment=PROD)
    with created(namespace(TEAM), account()):
        for one in (NATS, JOBS):
            kubectl("create", "rolebinding", "team", "-n", one, "--clusterrole=admin", f"--serviceaccount={TEAM}:team")
        environment = PROD | {"KUBECONFIG": kubeconfig(tmp_path / "kubeconfig"), "ENV_FILE": str(tmp_path / "none")}
        with pytest.raises(CommandFailed, match="you may not: patch namespaces"):
            run(SETUP, "--yes", environment=environment)
        run(SETUP, "--part", "namespaces", "--yes", environment=environment)
        with pytest.raises(CommandFailed, match="you may not delete namespaces"):
            run(TEARDOWN, "--yes", "--delete-data", environment=environment)
    run(TEARDOWN, "--yes", "--delete-data", environment=PROD)
    assert NATS not in kubectl("get", "namespaces", "-o", "name")


def refusal() -> str:
    """Return the one thing that setup refuses. It names the way out and makes no namespace."""
    before = kubectl("get", "namespaces", "-o", "name")
    with pytest.raises(CommandFailed) as failed:
        run(SETUP, "--yes", environment={"ENV_FILE": "none"})  # what other tests left has ports of the test overlay
    assert kubectl("get", "namespaces", "-o", "name") == before
    assert "Nothing was changed" in str(failed.value)
    lines = str(failed.value).splitlines()
    [number] = [number for number, line in enumerate(lines) if line.startswith("  ✗ ")]
    assert lines[number + 1].startswith("      ")
    return lines[number].removeprefix("  ✗ ")


@contextmanager
def created(*manifests: Object) -> Iterator[None]:
    """Create objects, and remove them at the end of the block: an API that nothing serves would keep its namespace."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    try:
        kubectl("create", "-f", "-", given=given)
        yield
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", given=given)


def namespace(name: str, labelled: Mapping[str, str] = {}) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {**labelled}}}


def workload(kind: str, name: str, where: str, labelled: Mapping[str, str] = {}, **spec: object) -> Object:
    """Build a workload without pods."""
    selector = {"app": name}
    template = {"metadata": {"labels": selector}, "spec": {"containers": [{"name": name, "image": f"{name}:1"}]}}
    metadata = {"name": name, "namespace": where, "labels": {**labelled}}
    own = {"replicas": 0, "selector": {"matchLabels": selector}, "template": template}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": own | spec}


def keda_operator(version: str) -> Object:
    return workload("Deployment", "keda-operator", THEIRS, {"app.kubernetes.io/version": version})


def service(name: str, where: str) -> Object:
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 4222}]}}


def metrics_api(where: str) -> Object:
    group, version = "external.metrics.k8s.io", "v1beta1"
    spec = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100}
    served = {"service": {"name": "adapter", "namespace": where}, "insecureSkipTLSVerify": True}
    metadata = {"name": METRICS_API}
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": metadata,
        "spec": spec | served,
    }


def account() -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "team", "namespace": TEAM}}


def kubeconfig(file: Path) -> str:
    """Write a kubeconfig of the account and return its path."""
    token = kubectl("create", "token", "team", "-n", TEAM, "--duration=1h").strip()
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    for user in config["users"]:
        user["user"] = {"token": token}
    file.write_text(json.dumps(config))
    file.chmod(0o600)
    return str(file)


def labels(name: str) -> Object:
    found: Object = json.loads(kubectl("get", "namespace", name, "-o", "json"))["metadata"].get("labels", {})
    return found
