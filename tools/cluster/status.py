"""Platform on one screen: its parts, scalers, pods, lag and queues."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter

from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

import environments
from cluster import policies
from cluster.connect import connected
from cluster.errors import ClusterError, run
from cluster.kubernetes import Object, items, kubectl
from environments import Environment
from keda_jobs import postgres
from keda_jobs.batch import BatchJob
from keda_jobs.cli.terminal import add_row, new_table, print_out
from keda_jobs.errors import JobError
from keda_jobs.settings import PgSettings
from stack.jobs import jobs_of

_KEDA = "keda-operator"
_KEDA_LABEL = "keda-jobs/keda=true"
_PAUSED = ("autoscaling.keda.sh/paused", "autoscaling.keda.sh/paused-replicas")


def parts_table(workloads: list[Object]) -> Table:
    """Build the table of the platform's Deployments and StatefulSets."""
    table = new_table("namespace", "part", "ready", right=("ready",))
    for one in sorted(workloads, key=_place):
        wanted, ready = one["spec"].get("replicas", 1), one["status"].get("readyReplicas", 0)
        cell = Text(f"{ready}/{wanted}", style="green" if ready == wanted else "red")
        add_row(table, one["metadata"]["namespace"], one["metadata"]["name"], cell)
    return table


def is_part(one: Object, keda: set[str], environment: Environment) -> bool:
    """Return whether a workload is one of the platform. `keda` is where KEDA is, which may hold more than KEDA."""
    namespace, name = _place(one)
    ours = (environment.nats_namespace, environment.test_namespace)
    return namespace in ours or (namespace in keda and name.startswith("keda"))


def _place(one: Object) -> tuple[str, str]:
    return one["metadata"]["namespace"], one["metadata"]["name"]


def scaled_table(scaled: list[Object], replicas: dict[str, int]) -> Table:
    """Build the table of ScaledObjects and ScaledJobs. `replicas` counts the pods or Jobs that each has now."""
    table = new_table("job", "kind", "ready", "active", "paused", "min", "max", "now", right=("min", "max", "now"))
    for one in scaled:
        name, spec = one["metadata"]["name"], one["spec"]
        add_row(
            table,
            name,
            one["kind"],
            *(_condition(one, kind) for kind in ("Ready", "Active")),
            "paused" if is_paused(one) else "-",
            spec.get("minReplicaCount", 0),
            spec.get("maxReplicaCount", 100),
            replicas.get(name, 0),
        )
    return table


def _condition(one: Object, kind: str) -> Text:
    status = {each["type"]: each["status"] for each in one.get("status", {}).get("conditions", [])}.get(kind, "Unknown")
    words = {"True": ("yes", "green"), "False": ("no", "red" if kind == "Ready" else "")}
    return Text(*words.get(status, ("?", "yellow")))


def is_paused(one: Object) -> bool:
    """Return whether an annotation pauses its scaling."""
    annotations = one["metadata"].get("annotations", {})
    return any(annotations.get(name, "false") != "false" for name in _PAUSED)


def pods_table(pods: list[Object]) -> Table:
    """Build the table of pods, counted by job and phase."""
    table = new_table("job", "phase", "pods", right=("pods",))
    counts = Counter((one["metadata"].get("labels", {}).get("app", "-"), phase_of(one)) for one in pods)
    for (job, phase), count in sorted(counts.items()):
        add_row(table, job, phase, count)
    return table


def phase_of(pod: Object) -> str:
    """Return the pod's phase, or the more precise reason why a container waits, or `Terminating`."""
    if "deletionTimestamp" in pod["metadata"]:
        return "Terminating"
    statuses = pod["status"].get("containerStatuses", [])
    reasons = [one["state"]["waiting"].get("reason") for one in statuses if "waiting" in one.get("state", {})]
    return str(next(filter(None, reasons), pod["status"].get("phase", "Unknown")))


def _replicas(deployments: list[Object], jobs: list[Object]) -> dict[str, int]:
    running = Counter(
        one["metadata"].get("labels", {}).get("scaledjob.keda.sh/name", "")
        for one in jobs
        for _ in range(one["status"].get("active", 0))
    )
    return {one["metadata"]["name"]: one["status"].get("replicas", 0) for one in deployments} | running


def _show_parts(workloads: list[Object], environment: Environment) -> None:
    print_out("")
    keda = {one["metadata"]["namespace"] for one in workloads if one["metadata"]["name"] == _KEDA}
    parts = [one for one in workloads if is_part(one, keda, environment)]
    print_out(parts_table(parts))
    if missing := missing_parts(parts, environment):
        print_out(f"there is no {' and no '.join(sorted(missing))}; run: k8s/setup-scripts/setup-all.sh")


def missing_parts(parts: list[Object], environment: Environment) -> set[str]:
    """Return what setup would make. A NATS of its owner's is not among the parts."""
    needed = {_KEDA, "nats"} if environment.nats_namespace else {_KEDA}
    return needed - {one["metadata"]["name"] for one in parts}


def _show_scaled(workloads: list[Object], namespace: str) -> None:
    print_out("")
    try:
        scaled = items("scaledobjects,scaledjobs", "--namespace", namespace)
    except ClusterError as error:
        print_out(f"no ScaledObjects: {error}")
        return
    if not scaled:
        print_out("no job is deployed; run: make deploy JOB=<job>")
        return
    deployments = [one for one in workloads if one["metadata"]["namespace"] == namespace]
    print_out(scaled_table(scaled, _replicas(deployments, items("jobs", "--namespace", namespace))))


def _show_pods(namespace: str) -> None:
    print_out("")
    pods = items("pods", "--namespace", namespace)
    print_out(pods_table(pods) if pods else "no pods: every job is at zero")


def _show_queues() -> None:
    """Show `keda-jobs status` and the claimable rows of batch jobs, through port-forwards."""
    print_out("")
    try:
        with connected() as environment:
            sys.stdout.flush()
            subprocess.run(["keda-jobs", "status"], env={**os.environ, **environment}, check=False)
            if "PG_DSN" in environment:
                print_out("")
                print_out(asyncio.run(_claimable(PgSettings(pg_dsn=SecretStr(environment["PG_DSN"])))))
    except ClusterError as error:
        print_out(f"no lag: {error}")


async def _claimable(settings: PgSettings) -> str:
    try:
        async with postgres.open_connection(settings, name="keda-jobs-status") as connection:
            with postgres.translate_errors():
                return "\n".join([await _line(connection, job) for job in jobs_of(BatchJob)])
    except JobError as error:
        return f"no batch queue: {error}"


async def _line(connection: postgres.Connection, job: BatchJob) -> str:
    rows = await connection.fetchval(f"SELECT rows FROM {job.table.claimable}")  # noqa: S608
    running = await connection.fetchval(
        f"SELECT count(*) FROM {job.table.batches} WHERE status = 'running'"  # noqa: S608
    )
    return f"{job.name}: {int(rows):,} rows claimable, {running} batches running"


def _workloads(environment: Environment) -> list[Object]:
    """Read the workloads of the environment and of KEDA. Nobody needs the right to read those of others."""
    keda = [one["metadata"]["name"] for one in items("namespaces", f"--selector={_KEDA_LABEL}")]
    namespaces = sorted({*environment.namespaces, *keda})
    return [one for each in namespaces for one in items("deployments,statefulsets", f"--namespace={each}")]


def _main() -> int:
    environment = environments.current()
    context = environment.kube_context or kubectl("config", "current-context").strip()
    print_out(Text(f"context {context}, environment {environment.environment}", style="bold"))
    workloads = _workloads(environment)
    _show_parts(workloads, environment)
    print_out("")
    report = policies.report()
    print_out(Text(report, style="bold red" if report == policies.NOT_ENFORCED else ""))
    _show_scaled(workloads, environment.jobs_namespace)
    _show_pods(environment.jobs_namespace)
    _show_queues()
    return 0


if __name__ == "__main__":
    sys.exit(run("status", _main))
