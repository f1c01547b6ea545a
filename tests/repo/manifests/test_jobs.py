"""A job's manifest agrees with its declaration: name, settings, stream, consumer, table."""

from __future__ import annotations

import json
import re

import pytest

from image_download.guard import _DENIED_V4
from keda_jobs.batch import BatchJob
from keda_jobs.claims import roles
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Job
from keda_jobs.settings import WorkSettings
from stack.jobs import ROOT

from .jobs import BATCH_JOBS, EVENT_JOBS, JOBS, SERVICES, JobManifest
from .rendered import of_kind, shown

EACH_JOB = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
EACH_EVENT_JOB = pytest.mark.parametrize("job", EVENT_JOBS, ids=lambda job: job.name)
EACH_SERVICE = pytest.mark.parametrize("job", SERVICES, ids=lambda job: job.name)
WORKERS = [job for job in JOBS if issubclass(job.declared.settings, WorkSettings)]
EACH_WORKER = pytest.mark.parametrize("job", WORKERS, ids=lambda job: job.name)
EACH_BATCH_JOB = pytest.mark.parametrize("job", BATCH_JOBS, ids=lambda job: job.name)

STREAM = json.loads((ROOT / "jobs/stream.json").read_text())["name"]
AT_REST = {"image-download": 80e6, "image-resize": 90e6}
WORKER_AT_REST = 60 * 2**20
[DOWNLOAD], [RESIZE] = ([job for job in JOBS if job.name == name] for name in AT_REST)


@EACH_JOB
def test_every_object_has_the_folders_name(job: JobManifest[Job]) -> None:
    named = {thing["kind"]: thing["metadata"]["name"] for thing in job.objects}
    named.pop("TriggerAuthentication", None)
    assert named == dict.fromkeys(named, job.name)
    assert {thing["metadata"]["labels"]["app"] for thing in job.objects} == {job.name}
    assert {thing["metadata"]["namespace"] for thing in job.objects} == {"keda-jobs-prod"}


def test_no_two_jobs_have_an_object_of_the_same_name() -> None:
    names = [shown(thing) for job in JOBS for thing in job.objects]
    assert sorted(set(names)) == sorted(names)


@EACH_JOB
def test_its_pod_has_its_image_and_its_account(job: JobManifest[Job]) -> None:
    assert job.container["name"] == job.name
    assert re.fullmatch(rf"{job.name}:[\w.-]+", job.container["image"]), job.container["image"]
    assert job.container["imagePullPolicy"] == "IfNotPresent"
    assert job.pod.spec["serviceAccountName"] == job.name


@EACH_JOB
def test_policies_and_budgets_select_its_own_pods(job: JobManifest[Job]) -> None:
    for policy in of_kind(job.objects, "NetworkPolicy"):
        assert policy["spec"]["podSelector"] == {"matchLabels": {"app": job.name}}
    for budget in of_kind(job.objects, "PodDisruptionBudget"):
        assert budget["spec"]["selector"] == {"matchLabels": {"app": job.name}}


@EACH_JOB
def test_every_variable_is_a_setting_or_part_of_one(job: JobManifest[Job]) -> None:
    parts = set(re.findall(r"\$\((\w+)\)", " ".join(value for value in job.environment.values() if value)))
    assert job.environment.keys() <= job.variables | parts


@EACH_JOB
def test_a_part_of_a_value_is_named_before_it(job: JobManifest[Job]) -> None:
    # Kubernetes does not expand `$(NAME)` if NAME is defined later or never.
    before: set[str] = set()
    for name, value in job.environment.items():
        assert set(re.findall(r"\$\((\w+)\)", value or "")) <= before, name
        before.add(name)


@EACH_JOB
def test_an_optional_config_map_of_its_name_takes_precedence(job: JobManifest[Job]) -> None:
    # Kubernetes lets the last of two `envFrom` with the same key win.
    assert job.container["envFrom"][-1] == {"configMapRef": {"name": job.name, "optional": True}}


@EACH_WORKER
def test_its_grace_period_is_longer_than_the_jobs(job: JobManifest[Job]) -> None:
    assert job.pod.spec["terminationGracePeriodSeconds"] > job.settings.shutdown_grace_s


@EACH_JOB
def test_its_probes_use_the_port_and_paths_of_the_job(job: JobManifest[Job]) -> None:
    assert job.container["ports"] == [{"name": "http", "containerPort": job.settings.http_port}]
    assert job.container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert job.container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@EACH_SERVICE
def test_a_service_is_one_pod_that_nothing_scales(job: JobManifest[Job]) -> None:
    assert sorted(thing["kind"] for thing in job.objects) == ["Deployment", "NetworkPolicy", "ServiceAccount"]
    assert job.one("Deployment")["spec"]["replicas"] == 1


def test_the_exporter_logs_in_to_postgresql_with_the_password_of_its_role() -> None:
    role, password = roles.EXPORTER, f"{roles.EXPORTER.upper()}_PASSWORD"
    [exporter] = [job for job in JOBS if job.name == "exporter"]
    assert str(exporter.environment["PG_DSN"]).startswith(f"postgresql://{role}:$({password})@")
    [variable] = [one for one in exporter.container["env"] if one["name"] == password]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "postgres", "key": role}}


@EACH_EVENT_JOB
def test_keda_asks_for_the_declared_stream_and_consumer(job: JobManifest[EventJob]) -> None:
    trigger = job.trigger("ScaledObject")
    assert (trigger["stream"], trigger["consumer"]) == (STREAM, f"{job.name}-consumer")
    assert job.one("ScaledObject")["spec"]["scaleTargetRef"] == {"name": job.name}


@EACH_EVENT_JOB
def test_it_scales_from_zero_and_leaves_the_number_of_pods_to_keda(job: JobManifest[EventJob]) -> None:
    spec = job.one("ScaledObject")["spec"]
    assert spec["minReplicaCount"] == 0 < spec["maxReplicaCount"]
    assert "replicas" not in job.one("Deployment")["spec"]


@EACH_EVENT_JOB
def test_a_pod_is_added_when_messages_exceed_one_pods_concurrency(job: JobManifest[EventJob]) -> None:
    assert int(job.trigger("ScaledObject")["lagThreshold"]) > job.settings.concurrency


@EACH_BATCH_JOB
def test_keda_counts_claimable_rows_and_starts_one_job_per_claim(job: JobManifest[BatchJob]) -> None:
    table = job.declared.table
    trigger = job.trigger("ScaledJob")
    assert trigger["query"].split() == ["SELECT", "rows", "FROM", table.claimable]
    assert trigger["userName"] == roles.scaler_role(table)
    assert int(trigger["targetQueryValue"]) == job.settings.claim_size


@EACH_BATCH_JOB
def test_keda_and_workers_log_in_with_the_passwords_of_their_roles(job: JobManifest[BatchJob]) -> None:
    worker, scaler = roles.worker_role(job.declared.table), roles.scaler_role(job.declared.table)
    authentication = job.one("TriggerAuthentication")
    read = {one["parameter"]: one["key"] for one in authentication["spec"]["secretTargetRef"]}
    [trigger] = job.one("ScaledJob")["spec"]["triggers"]
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    assert read["password"] == scaler
    assert str(job.environment["PG_DSN"]).startswith(f"postgresql://{worker}:$({worker.upper()}_PASSWORD)@")
    [password] = [one for one in job.container["env"] if one["name"] == f"{worker.upper()}_PASSWORD"]
    assert password["valueFrom"] == {"secretKeyRef": {"name": "postgres", "key": worker}}


@EACH_BATCH_JOB
def test_counted_rows_start_one_job_and_a_finished_job_is_removed(job: JobManifest[BatchJob]) -> None:
    spec = job.one("ScaledJob")["spec"]
    assert spec["scalingStrategy"] == {"strategy": "accurate", "pendingPodConditions": ["Ready"]}
    assert spec["rollout"] == {"strategy": "gradual"}
    assert spec["jobTargetRef"]["template"]["spec"]["restartPolicy"] == "Never"
    for bound in ("backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "podFailurePolicy"):
        assert bound in spec["jobTargetRef"], bound
    [on_exit] = [
        rule["onExitCodes"] for rule in spec["jobTargetRef"]["podFailurePolicy"]["rules"] if "onExitCodes" in rule
    ]
    assert on_exit["containerName"] == job.container["name"]


def test_downloads_may_reach_the_addresses_that_the_guard_allows() -> None:
    rules = DOWNLOAD.one("NetworkPolicy")["spec"]["egress"]
    [(block, ports)] = [(to["ipBlock"], rule["ports"]) for rule in rules for to in rule["to"] if "ipBlock" in to]
    assert block["cidr"] == "0.0.0.0/0"
    assert sorted(block["except"]) == sorted(map(str, _DENIED_V4))
    assert ports == [{"port": 80}, {"port": 443}]


def test_downloads_of_the_largest_size_fit_in_memory() -> None:
    bodies = DOWNLOAD.settings.concurrency * DOWNLOAD.settings.download_max_bytes * 1.2
    assert DOWNLOAD.memory_limit >= AT_REST[DOWNLOAD.name] + bodies


def test_pictures_of_the_largest_size_fit_in_memory() -> None:
    """Compute the memory as in jobs/image-resize/README.md, "Memory and time", for CONCURRENCY cores."""
    settings = RESIZE.settings
    workers = settings.concurrency * (WORKER_AT_REST + 10 * settings.resize_max_pixels)
    originals = 3 * settings.concurrency * settings.resize_max_bytes
    assert RESIZE.memory_limit >= AT_REST[RESIZE.name] + workers + originals
