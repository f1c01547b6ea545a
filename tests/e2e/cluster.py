"""Cluster under test, reached with kubectl and the scripts of this repository."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import environments
from stack.jobs import ROOT

# The environment of all commands, unless a test says otherwise.
ENVIRONMENT = environments.load("test")
JOBS, NATS, TEST = ENVIRONMENT.jobs_namespace, ENVIRONMENT.nats_namespace, ENVIRONMENT.test_namespace

# Long, because no test is about the speed of a cluster: it only bounds the wait for what never comes.
DEADLINE_S = 600.0

Object = dict[str, Any]


class CommandFailed(AssertionError):
    """A command exited with another code than 0. The text holds its output."""


def run(
    *command: str,
    given: str | None = None,
    deadline_s: float = 3 * DEADLINE_S,
    environment: Mapping[str, str] = {},
    folder: Path = ROOT,
) -> str:
    """Run `command` in `folder` and return its output. Raises `CommandFailed`."""
    ended = subprocess.run(
        command,
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        timeout=deadline_s,
        env={**os.environ, "ENV": ENVIRONMENT.environment, **environment},
        check=False,
    )
    if ended.returncode:
        raise CommandFailed(f"{' '.join(command)} exited with {ended.returncode}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def kubectl(*arguments: str, given: str | None = None) -> str:
    """Run kubectl and return its output. Raises `CommandFailed`."""
    return run("kubectl", *arguments, given=given)


def objects(kind: str, namespace: str, selector: str = "") -> list[Object]:
    """Return the objects of a kind that the label selector matches."""
    listed = kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json")
    items: list[Object] = json.loads(listed)["items"]
    return items


def pods(app: str, namespace: str = JOBS) -> list[Object]:
    """Return the pods of an app that are neither being deleted nor have ended."""
    return [pod for pod in objects("pods", namespace, f"app={app}") if is_current(pod)]


def is_current(pod: Object) -> bool:
    """Return whether the pod is neither being deleted nor has ended."""
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") in ("Pending", "Running")


def is_ready(thing: Object) -> bool:
    """Return whether the object's condition `Ready` is true."""
    conditions = thing.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def is_at_zero(job: str) -> bool:
    """Return whether the job's Deployment wants no pod and the last one is gone."""
    [deployment] = objects("deployments", JOBS, f"app={job}")
    return deployment["spec"]["replicas"] == 0 and not objects("pods", JOBS, f"app={job}")


def name_of(thing: Object) -> str:
    """Return the name of an object."""
    return str(thing["metadata"]["name"])


def in_cluster(*command: str) -> str:
    """Run `command` with k8s/connect.sh, which makes NATS and PostgreSQL reachable. Raises `CommandFailed`."""
    return run("k8s/connect.sh", *command)


def publish(subject: str, events: Sequence[Mapping[str, Any]], folder: Path) -> None:
    """Publish events through a port-forward."""
    lines = folder / "events.jsonl"
    lines.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    in_cluster("keda-jobs", "pub", subject, "--file", str(lines))


def status() -> Object:
    """Return `keda-jobs status --json`: consumers, waiting retries, dead letters."""
    found: Object = json.loads(in_cluster("keda-jobs", "status", "--json"))
    return found


def stored(folder: str, servers: str = TEST) -> list[str]:
    """List the names of the objects below `folder` in the bucket of the test servers in that namespace."""
    command = f"ls -1 /data/keda-jobs/{folder} 2>/dev/null || true"
    return kubectl("exec", "-n", servers, "deployment/s3", "--", "sh", "-c", command).split()


def sql(query: str) -> str:
    """Run a query in PostgreSQL and return a line for each row, with `|` between the columns."""
    psql = ("psql", "--username=keda_jobs", "--dbname=keda_jobs", "-qAt", "-v", "ON_ERROR_STOP=1")
    return kubectl("exec", "-i", "-n", TEST, "deployment/postgres", "--", *psql, given=query).strip()


def settings(job: str, namespace: str = JOBS, **values: str) -> None:
    """Set a job's settings through the ConfigMap of its name, or remove it when there are none."""
    kubectl("delete", "configmap", job, "-n", namespace, "--ignore-not-found")
    if values:
        literals = [f"--from-literal={name}={value}" for name, value in values.items()]
        kubectl("create", "configmap", job, "-n", namespace, *literals)


def pictures_address(servers: str = TEST) -> str:
    """Return `IP:port` of the picture server, for DOWNLOAD_ALLOW_ADDRESSES and for URLs."""
    return kubectl("get", "service", "pictures", "-n", servers, "-o", "jsonpath={.spec.clusterIP}") + ":80"


def until(what: str, condition: Callable[[], bool], deadline_s: float = DEADLINE_S, every_s: float = 1.0) -> None:
    """Wait until `condition` holds. Fails after `deadline_s` with `what` as the reason."""
    give_up = time.monotonic() + deadline_s
    while True:
        began = time.monotonic()
        if condition():
            return
        if time.monotonic() > give_up:
            raise AssertionError(f"not within {deadline_s:g} s: {what}\n{overview()}")
        # Commands that look at a cluster take a core for seconds, which the cluster needs too.
        time.sleep(max(every_s, time.monotonic() - began))


def overview() -> str:
    """Return what a person would look at first."""
    return kubectl("get", "scaledobjects,scaledjobs,deployments,jobs,pods", "-n", JOBS, "-o", "wide")
