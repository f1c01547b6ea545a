"""Pods that try to reach others: with a job's labels, account, image and environment, or as a stranger."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.repo.manifests.rendered import Source, pods

from stack.jobs import ROOT

from .cluster import JOBS, Object, kubectl, until

HERE = "keda-jobs-e2e"
SERVERS_IMAGE = "keda-jobs-test-servers:dev"

# No Service takes a pod that is never ready, whatever its labels.
_NEVER_READY = [{"conditionType": "keda-jobs/never"}]

# A port is open when it accepts a connection. On port 80 the probe also requests a path that names itself.
_REACH = """
import json, socket, sys
from concurrent.futures import ThreadPoolExecutor

def is_open(target):
    host, _, port = target.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=3) as connection:
            if port == "80":
                connection.sendall(b"GET /from/%s HTTP/1.0\\r\\n\\r\\n" % sys.argv[1].encode())
                connection.recv(1)
            return True
    except OSError:
        return False

with ThreadPoolExecutor(len(sys.argv)) as pool:
    print(json.dumps(list(pool.map(is_open, sys.argv[2:]))))
"""


@dataclass(frozen=True, slots=True)
class Probe:
    """Running pod that listens and from which connections can be tried."""

    name: str
    namespace: str
    address: str

    def reaches(self, targets: Sequence[str]) -> list[bool]:
        """Return for each `host:port` whether it accepts a connection."""
        found: list[bool] = json.loads(self.python(_REACH, self.name, *targets))
        return found

    def python(self, script: str, *arguments: str) -> str:
        """Run `script` in the pod and return its output. Raises `CommandFailed`."""
        return kubectl("exec", "-n", self.namespace, self.name, "--", "python", "-c", script, *arguments)


@contextmanager
def started(manifests: Sequence[Object]) -> Iterator[dict[str, Probe]]:
    """Run pods during the block and yield them by name."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
    remove = ("delete", "--ignore-not-found", "--grace-period=1", "--wait=true", "-f", "-")
    kubectl(*remove, given=given)
    try:
        kubectl("create", "-f", "-", given=given)
        until("every probe runs", lambda: all(map(_address, manifests)))
        yield {_name(one): Probe(_name(one), one["metadata"]["namespace"], _address(one)) for one in manifests}
    finally:
        kubectl(*remove, given=given)


def job_pod(job: str, namespace: str = JOBS) -> Object:
    """Build a pod like the job's that only listens on the job's port."""
    [template] = pods(Source(ROOT / "jobs" / job / "service.yaml").objects)
    [container] = template.containers
    kept = {key: value for key, value in container.items() if not key.endswith("Probe")}
    resources = {**container["resources"], "requests": {"cpu": "10m", "memory": "64Mi"}}
    command = ["python", "-m", "http.server", "8080", "--directory", "/tmp"]  # noqa: S108
    listening = kept | {"command": command, "resources": resources}
    return _pod(job, namespace, template.labels, template.spec | {"containers": [listening]})


def stranger(name: str, namespace: str = HERE, labels: Mapping[str, str] = {}) -> Object:
    """Build a pod of no job, with a picture server on port 80."""
    container: dict[str, Any] = {
        "name": name,
        "image": SERVERS_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "/app/pictures.py", "80"],
        "resources": {bound: {"cpu": "100m", "memory": "64Mi"} for bound in ("requests", "limits")},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    security: dict[str, Any] = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    # A port below 1024 then needs no rights.
    sysctls = [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]
    spec = {"containers": [container], "securityContext": security | {"sysctls": sysctls}}
    return _pod(name, namespace, labels, spec)


def _pod(name: str, namespace: str, labels: Mapping[str, str], spec: Object) -> Object:
    alike = {"restartPolicy": "Never", "readinessGates": _NEVER_READY, "terminationGracePeriodSeconds": 1}
    token = {"automountServiceAccountToken": False, "enableServiceLinks": False}
    metadata = {"name": f"probe-{name}", "namespace": namespace, "labels": {**labels}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec | alike | token}


def _name(manifest: Object) -> str:
    return str(manifest["metadata"]["name"])


def _address(manifest: Object) -> str:
    """Return the address of the pod, empty until its container runs."""
    namespace, path = manifest["metadata"]["namespace"], "{.status.containerStatuses[0].ready} {.status.podIP}"
    ready, _, address = kubectl("get", "pod", _name(manifest), "-n", namespace, "-o", f"jsonpath={path}").partition(" ")
    return address if ready == "true" else ""
