"""Jobs of slow_worker.py on the cluster, long and ordinary, with the manifests that `make job-files` writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from job_files.render import job_files
from stack.jobs import ROOT, package_name

from .cluster import JOBS, NATS, Object, in_cluster, kubectl

LONG, EVENT = "long-worker", "event-worker"
# Two images with the library in them. The script is mounted.
OLD_IMAGE, NEW_IMAGE = "image-download:dev", "image-resize:dev"

_HERE = Path(__file__).parent
_WORKER = _HERE / "slow_worker.py"
_MAIN = "from keda_jobs import run\nfrom {}.job import JOB\n\nrun(JOB)\n"
_RESOURCES = """
[resources]
requests = {cpu = "20m", memory = "64Mi"}
limits = {cpu = "1", memory = "160Mi"}
"""
_TOML = {
    LONG: f"[scale]\nmax_replicas = 20\npolling_s = 5\n{_RESOURCES}",
    EVENT: f"[scale]\nmax_replicas = 20\nlag_threshold = 1\ncooldown_s = 15\n{_RESOURCES}"
    "[settings]\nCONCURRENCY = 1\nSHUTDOWN_GRACE_S = 5\n",
}


class SlowJobs:
    """Both jobs on the cluster."""

    def __init__(self, folder: Path) -> None:
        """Write their files below `folder`."""
        for job, toml in _TOML.items():
            package = folder / "jobs" / job / "src" / package_name(job)
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "job.py").write_text(_WORKER.read_text())
            (folder / "jobs" / job / "job.toml").write_text(toml)
        files = [file for file in job_files(folder) if file.path.name == "service.yaml"]
        self._objects = [thing for file in files for thing in yaml.safe_load_all(file.text)]

    def apply(self, image: str) -> None:
        """Apply the manifests of both with an image."""
        for thing in self._objects:
            if (pod := _pod(thing)) is not None:
                _mount_worker(pod, thing["metadata"]["name"], image)
        kubectl("apply", "-f", "-", given=_list([*_shared(), *self._objects]))

    def delete(self) -> None:
        """Delete all that was applied."""
        kubectl("delete", "--ignore-not-found", "-f", "-", given=_list([*_shared(), *self._objects]))


@contextmanager
def slow_jobs(folder: Path) -> Iterator[SlowJobs]:
    """Deploy both jobs with their consumers during the block."""
    jobs = SlowJobs(folder)
    _streams("make", LONG, EVENT)
    try:
        jobs.apply(OLD_IMAGE)
        yield jobs
    finally:
        jobs.delete()
        _streams("remove", LONG, EVENT)


def publish(seconds: int, count: int) -> None:
    """Publish that many messages to each job."""
    _streams("publish", str(seconds), str(count), LONG, EVENT)


def deliveries(job: str) -> dict[str, int]:
    """Return how often messages of a job were `delivered`, and how many are `left`."""
    found: dict[str, int] = json.loads(_streams("deliveries", job))
    return found


def _streams(*arguments: str) -> str:
    return in_cluster("python", str(ROOT / "tests/nats_scripts/slow_streams.py"), *arguments)


def _pod(thing: Object) -> dict[str, Any] | None:
    spec = thing.get("spec", {})
    template = spec.get("jobTargetRef", spec).get("template")
    return dict(template)["spec"] if template else None


def _mount_worker(pod: dict[str, Any], job: str, image: str) -> None:
    """Let the container run the job's package from the ConfigMap."""
    package = package_name(job)
    [container] = pod["containers"]
    container |= {"image": image, "command": ["python", "-m", package]}
    mounted = "script" in {volume["name"] for volume in pod["volumes"]}
    if not mounted:
        container["env"].append({"name": "PYTHONPATH", "value": "/script:/app"})
        container["volumeMounts"].append({"name": "script", "mountPath": "/script", "readOnly": True})
        items = [{"key": "job.py", "path": f"{package}/job.py"}, {"key": package, "path": f"{package}/__main__.py"}]
        pod["volumes"].append({"name": "script", "configMap": {"name": "slow-worker", "items": items}})


def _shared() -> Iterator[Object]:
    """Yield the script, and the administrator's login under the name of each job."""
    admin = json.loads(kubectl("get", "secret", "nats-admin", "-n", NATS, "-o", "json"))
    labels = {"app.kubernetes.io/part-of": "keda-jobs"}
    for job in _TOML:
        metadata = {"name": f"nats-{job}", "namespace": JOBS, "labels": labels}
        yield {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": admin["data"]}
    metadata = {"name": "slow-worker", "namespace": JOBS, "labels": labels}
    scripts = {package_name(job): _MAIN.format(package_name(job)) for job in _TOML}
    data = {"job.py": _WORKER.read_text(), **scripts}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def _list(objects: list[Object]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
