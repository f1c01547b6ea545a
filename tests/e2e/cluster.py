"""The cluster under test, as a person at a shell has it: by kubectl and by the scripts of this repository."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stack.jobs import ROOT

JOBS = "keda-jobs-prod"
NATS = "nats"
TEST = "keda-jobs-test"

Object = dict[str, Any]


class CommandFailed(AssertionError):
    """A command ended with another exit code than 0; the text is what it said."""


def run(
    *command: str,
    given: str | None = None,
    deadline_s: float = 300,
    environment: Mapping[str, str] = {},
    folder: Path = ROOT,
) -> str:
    """What `command` prints, run in `folder`, the top of the repository. Raises `CommandFailed`."""
    ended = subprocess.run(
        command,
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        env={**os.environ, **environment},
        check=False,
    )
    if ended.returncode:
        raise CommandFailed(f"{' '.join(command)} exited with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def kubectl(*arguments: str, given: str | None = None) -> str:
    """What kubectl prints. Raises `CommandFailed`."""
    return run("kubectl", *arguments, given=given)


def objects(kind: str, namespace: str, selector: str = "") -> list[Object]:
    """All objects of a kind, by label selector."""
    listed = kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json")
    items: list[Object] = json.loads(listed)["items"]
    return items


def pods(app: str, namespace: str = JOBS) -> list[Object]:
    """The pods of an app that are not being deleted and have not ended."""
    return [pod for pod in objects("pods", namespace, f"app={app}") if is_current(pod)]


def is_current(pod: Object) -> bool:
    """Whether the pod is neither being deleted nor has ended."""
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") in ("Pending", "Running")


def is_ready(pod: Object) -> bool:
    """Whether the pod's readiness probe is content."""
    conditions = pod.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_at_zero(job: str) -> bool:
    """Whether the job's Deployment wants no pod, and the last one is gone."""
    [deployment] = objects("deployments", JOBS, f"app={job}")
    return deployment["spec"]["replicas"] == 0 and not objects("pods", JOBS, f"app={job}")


def name_of(thing: Object) -> str:
    """Its name."""
    return str(thing["metadata"]["name"])


def in_cluster(*command: str, deadline_s: float = 120) -> str:
    """What `command` prints, run by k8s/connect.sh: with NATS, and PostgreSQL, within reach. Raises `CommandFailed`."""
    return run("k8s/connect.sh", *command, deadline_s=deadline_s)


def publish(subject: str, events: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Publish events from outside, through a port-forward."""
    lines = folder / "events.jsonl"
    lines.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    in_cluster("keda-jobs", "pub", subject, "--file", str(lines))


def status() -> Object:
    """`keda-jobs status --json`: consumers, waiting retries, dead letters."""
    told: Object = json.loads(in_cluster("keda-jobs", "status", "--json"))
    return told


def stored(folder: str) -> list[str]:
    """The names of the objects below `folder` in the bucket of the test cluster's store."""
    command = f"ls -1 /data/keda-jobs/{folder} 2>/dev/null || true"
    return kubectl("exec", "-n", TEST, "deployment/s3", "--", "sh", "-c", command).split()


def sql(query: str) -> str:
    """The answer of the test cluster's PostgreSQL: a line for each row, columns separated by `|`."""
    psql = ("psql", "--username=keda_jobs", "--dbname=keda_jobs", "-qAt", "-v", "ON_ERROR_STOP=1")
    return kubectl("exec", "-i", "-n", TEST, "deployment/postgres", "--", *psql, given=query).strip()


def settings(job: str, **values: str) -> None:
    """Set a job's settings in this cluster, by the ConfigMap of its name; none given: the manifest's own."""
    kubectl("delete", "configmap", job, "-n", JOBS, "--ignore-not-found")
    if values:
        literals = [f"--from-literal={name}={value}" for name, value in values.items()]
        kubectl("create", "configmap", job, "-n", JOBS, *literals)


def pictures_address() -> str:
    """`IP:port` of the picture server, for DOWNLOAD_ALLOW_ADDRESSES and for URLs."""
    return kubectl("get", "service", "pictures", "-n", TEST, "-o", "jsonpath={.spec.clusterIP}") + ":80"


def until(what: str, condition: Callable[[], bool], deadline_s: float, every_s: float = 1.0) -> float:
    """Wait until `condition` holds; the seconds it took. Fails after `deadline_s`, saying `what` did not come."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > deadline_s:
            raise AssertionError(f"not within {deadline_s:g} s: {what}\n{overview()}")
        time.sleep(every_s)
    return time.monotonic() - began


def overview() -> str:
    """What a person would look at first."""
    return kubectl("get", "scaledobjects,scaledjobs,deployments,jobs,pods", "-n", JOBS, "-o", "wide")
