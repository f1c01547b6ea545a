"""An environment on a NATS of its owner's, in a namespace and an account that are not ours: a picture goes through."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from environments import FACTS, OVERLAYS, Environment, load
from stack.jobs import ROOT

from .cluster import CommandFailed, Object, kubectl, pictures_address, settings, until
from .made import DOWNLOAD, inside, made, missing, publish
from .traffic import new_numbers

pytestmark = pytest.mark.slow

NAME = "e2e-yours"
JOBS = (DOWNLOAD, "image-resize", "exporter")
# As the release `shop` of NATS's chart, in the namespace `keda-jobs-e2e-shop`.
SHOP = "keda-jobs-e2e-shop"
NATS = "shop-nats"
HOST = f"{NATS}.{SHOP}.svc.cluster.local"
HEADLESS = f"{NATS}-headless.{SHOP}.svc.cluster.local"
PASSWORD = "only-in-this-cluster"
RIGHTS = re.compile(r"NATS: (\S+) may publish (.+) and subscribe to (\S+)$", re.MULTILINE)
# As in docs/bring-your-own.md.
WAY_OUT = f"""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: nats-of-ours, namespace: jobs}}
spec:
  podSelector:
    matchLabels: {{needs-nats: "true"}}
  policyTypes: [Egress]
  egress:
    - to:
        - namespaceSelector:
            matchLabels: {{kubernetes.io/metadata.name: {SHOP}}}
      ports:
        - {{port: 4222}}
        - {{port: 8222}}
"""


@pytest.fixture(scope="module")
def yours(platform: None) -> Iterator[Environment]:
    """Make an environment that uses the NATS of `SHOP`, with the event jobs and the exporter on it."""
    with made(NAME):
        use_nats_of_shop(ROOT / OVERLAYS / NAME)
        found = load(NAME)
        try:
            with pytest.raises(CommandFailed, match="these jobs have no login at your NATS") as refused:
                inside(found, "k8s/setup-scripts/setup-all.sh", "--yes")
            start_nats(str(refused.value))
            give_logins(found)
            inside(found, "k8s/setup-scripts/setup-all.sh", "--yes")
            for job in JOBS:
                inside(found, "tools/deploy.sh", job, TAG="dev", REGISTRY="")
            yield found
        finally:
            inside(found, "k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")
            kubectl("delete", "namespace", SHOP, "--ignore-not-found")


def use_nats_of_shop(overlay: Path) -> None:
    """Change the overlay as docs/bring-your-own.md says."""
    facts = overlay / FACTS
    changed = {"NATS_NAMESPACE": "", "NATS_URL": f"nats://{HOST}:4222", "NATS_MONITORING": f"{HEADLESS}:8222"}
    for key, value in changed.items():
        facts.write_text(re.sub(rf"^{key}=.*$", f"{key}={value}", facts.read_text(), flags=re.MULTILINE))
    (overlay / "nats.yaml").write_text(WAY_OUT)
    platform = yaml.safe_load((overlay / "kustomization.yaml").read_text())
    platform["resources"].append("nats.yaml")
    platform["components"] = ["../../components/external-nats", "environment"]
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(platform))
    document = (ROOT / "docs/bring-your-own.md").read_text()
    patches = document[document.index("patches:\n") :].partition("```")[0]
    without_https = [line for line in patches.splitlines(keepends=True) if "useHttps" not in line]
    with (overlay / "environment/kustomization.yaml").open("a") as file:
        file.writelines(without_https)
    shutil.rmtree(overlay / "bootstrap")


def start_nats(told: str) -> None:
    """Start a NATS whose users have the rights that setup told, in an account that is not the default one."""
    users: list[Object] = [{"user": "owner", "password": PASSWORD}]
    for name, subjects, inbox in RIGHTS.findall(told):
        rights = {"publish": subjects.split(), "subscribe": [inbox]}
        users.append({"user": name, "password": PASSWORD, "permissions": rights})
    assert {user["user"] for user in users} >= {"owner", *JOBS}
    # NATS reads JSON.
    config = {
        "http_port": 8222,
        "jetstream": {"store_dir": "/data"},
        "accounts": {"SHOP": {"jetstream": "enabled", "users": users}},
    }
    created(
        {"kind": "Namespace", "metadata": {"name": SHOP}},
        {"kind": "ConfigMap", "metadata": placed(f"{NATS}-config"), "data": {"nats.conf": json.dumps(config)}},
        service(NATS, {"client": 4222}),
        service(f"{NATS}-headless", {"client": 4222, "monitor": 8222}, clusterIP="None", publishNotReadyAddresses=True),
        stateful_set(),
    )
    kubectl("rollout", "status", "-n", SHOP, f"statefulset/{NATS}", "--timeout=300s")


def give_logins(environment: Environment) -> None:
    """Make the jobs' Secrets, and put the login of whoever makes streams into the environment's credentials."""
    for job in JOBS:
        login = (f"--from-literal=NATS_USER={job}", f"--from-literal=NATS_PASSWORD={PASSWORD}")
        kubectl("create", "secret", "generic", f"nats-{job}", "-n", environment.jobs_namespace, *login)
    with environment.env_file.open("a") as file:
        file.write(f"\nNATS_USER=owner\nNATS_PASSWORD={PASSWORD}\n")


def placed(name: str) -> Object:
    return {"name": name, "namespace": SHOP, "labels": {"app.kubernetes.io/instance": "shop"}}


def service(name: str, ports: dict[str, int], **spec: object) -> Object:
    selector = {"app.kubernetes.io/name": "nats"}
    numbered = [{"name": port, "port": number} for port, number in ports.items()]
    return {"kind": "Service", "metadata": placed(name), "spec": {"selector": selector, "ports": numbered, **spec}}


def stateful_set() -> Object:
    labels = {"app.kubernetes.io/name": "nats"}
    container = {
        "name": "nats",
        "image": "nats:2.15-alpine",
        "imagePullPolicy": "IfNotPresent",
        "command": ["nats-server", "--config", "/etc/nats-config/nats.conf"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8222}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/nats-config"}, {"name": "data", "mountPath": "/data"}],
    }
    volumes = [{"name": "config", "configMap": {"name": f"{NATS}-config"}}, {"name": "data", "emptyDir": {}}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container], "volumes": volumes}}
    spec = {"serviceName": f"{NATS}-headless", "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": placed(NATS), "spec": spec}


def created(*manifests: Object) -> None:
    """Create objects."""
    items = [{"apiVersion": "v1", **one} for one in manifests]
    kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def test_a_picture_goes_through(yours: Environment) -> None:
    settings(DOWNLOAD, yours.jobs_namespace, DOWNLOAD_ALLOW_ADDRESSES=pictures_address(yours.test_namespace))
    some = new_numbers(1)
    publish(yours, some)
    until("the picture and its thumbnail are stored", lambda: not missing(yours, some))


def test_the_exporter_reads_it(yours: Environment) -> None:
    kubectl("rollout", "status", "-n", yours.jobs_namespace, "deployment/exporter", "--timeout=300s")


def test_a_second_setup_changes_nothing(yours: Environment) -> None:
    assert "streams and consumers" in inside(yours, "k8s/setup-scripts/setup-all.sh", "--yes")
    status = inside(yours, "k8s/status.sh")
    assert "there is no nats" not in status
    assert "no lag" not in status


def test_setup_and_teardown_leave_it_alone(yours: Environment) -> None:
    inside(yours, "k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")
    left = kubectl("get", "namespaces", "--output=name").split()
    assert {f"namespace/{name}" for name in yours.namespaces}.isdisjoint(left)
    pods = json.loads(kubectl("get", "pods", "-n", SHOP, "-o", "json"))["items"]
    assert [(pod["status"]["phase"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in pods] == [
        ("Running", 0)
    ]
