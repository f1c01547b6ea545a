"""Workers that retry as the guides to NATS and KEDA do, for comparison: nak_worker.py, scaled like image-download."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

import yaml

from stack.jobs import ROOT

from .cluster import JOBS, NATS, Object, in_cluster, kubectl, name_of, pods, until

_HERE = Path(__file__).parent
_SCRIPTS = ROOT / "tests/nats_scripts"
_DUE = re.compile(r"^due (\S+)$", re.MULTILINE)

# The same ScaledObject, and one without `advanced`: the HPA then waits 300 s before it takes pods away.
SAME, PLAIN = "nak-worker", "nak-worker-plain"


@contextmanager
def nak_workers(delay_s: float) -> Iterator[None]:
    """Deploy both workers at zero, each with a stream and a consumer, during the block."""
    objects = [*_shared(), *_worker(SAME, delay_s), *_worker(PLAIN, delay_s)]
    manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    try:
        for name in (SAME, PLAIN):
            _run("make", name)
        kubectl("apply", "-f", "-", given=manifests)
        yield
    finally:
        kubectl("delete", "--ignore-not-found", "-f", "-", given=manifests)
        for name in (SAME, PLAIN):
            _run("remove", name)


def publish_naks(name: str, events: int) -> None:
    """Publish events to a worker. The first of them fails at first."""
    _run("publish", name, str(events))


def due(name: str) -> datetime:
    """Return when the message that a worker has given back is due."""
    found: list[str] = []

    def is_logged() -> bool:
        found.extend(_DUE.findall(_logs(name)))
        return bool(found)

    until(f"{name} has given its message back", is_logged)
    return datetime.fromisoformat(found[0])


def _run(*arguments: str) -> None:
    in_cluster("python", str(_SCRIPTS / "nak_worker.py"), *arguments)


def _logs(name: str) -> str:
    running = [pod for pod in pods(name) if pod["status"]["phase"] == "Running"]
    return "".join(kubectl("logs", "-n", JOBS, name_of(pod)) for pod in running)


def _shared() -> list[Object]:
    admin = json.loads(kubectl("get", "secret", "nats-admin", "-n", NATS, "-o", "json"))
    common = {
        "apiVersion": "v1",
        "metadata": {"name": SAME, "namespace": JOBS, "labels": {"app.kubernetes.io/part-of": "keda-jobs"}},
    }
    return [
        common | {"kind": "Secret", "data": admin["data"]},
        common | {"kind": "ConfigMap", "data": {file.name: file.read_text() for file in _SCRIPTS.glob("*.py")}},
    ]


def _worker(name: str, delay_s: float) -> list[Object]:
    template = Template((_HERE / "nak_worker.yaml.tpl").read_text())
    return [*yaml.safe_load_all(template.substitute(NAME=name, DELAY_S=delay_s)), _scaled_object(name)]


def _scaled_object(name: str) -> Object:
    manifests = yaml.safe_load_all((ROOT / "jobs/image-download/service.yaml").read_text())
    scaled_object: dict[str, Any] = next(one for one in manifests if one["kind"] == "ScaledObject")
    scaled_object["metadata"] |= {"name": name, "labels": {"app": name, "app.kubernetes.io/part-of": "keda-jobs"}}
    scaled_object["spec"]["scaleTargetRef"]["name"] = name
    [trigger] = scaled_object["spec"]["triggers"]
    trigger["metadata"] |= {"stream": name, "consumer": name}
    if name == PLAIN:
        del scaled_object["spec"]["advanced"]
    return scaled_object
