"""What a job's manifest says agrees with where it is declared: folder, settings class, stream, consumer, table."""

from __future__ import annotations

import json
import re

import pytest

from image_download.guard import _DENIED_V4
from keda_jobs.claims import schema
from stack.jobs import ROOT

from .jobs import BATCH_JOBS, EVENT_JOBS, JOBS, SERVICES, JobManifest
from .rendered import of_kind, shown

EACH_JOB = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
EACH_EVENT_JOB = pytest.mark.parametrize("job", EVENT_JOBS, ids=lambda job: job.name)
EACH_SERVICE = pytest.mark.parametrize("job", SERVICES, ids=lambda job: job.name)
EACH_WORKER = pytest.mark.parametrize("job", EVENT_JOBS + BATCH_JOBS, ids=lambda job: job.name)
EACH_BATCH_JOB = pytest.mark.parametrize("job", BATCH_JOBS, ids=lambda job: job.name)

STREAM = json.loads((ROOT / "jobs/stream.json").read_text())["name"]
AT_REST = {"image-download": 80e6, "image-resize": 90e6}
WORKER_AT_REST = 60 * 2**20
[DOWNLOAD], [RESIZE] = ([job for job in JOBS if job.name == name] for name in AT_REST)


@EACH_JOB
def test_everything_bears_the_folders_name(job: JobManifest) -> None:
    named = {thing["kind"]: thing["metadata"]["name"] for thing in job.objects}
    named.pop("TriggerAuthentication", None)
    assert named == dict.fromkeys(named, job.name)
    assert {thing["metadata"]["labels"]["app"] for thing in job.objects} == {job.name}
    assert {thing["metadata"]["namespace"] for thing in job.objects} == {"keda-jobs-prod"}


def test_no_two_jobs_have_an_object_of_the_same_name() -> None:
    names = [shown(thing) for job in JOBS for thing in job.objects]
    assert sorted(set(names)) == sorted(names)


@EACH_WORKER
def test_it_brings_what_a_job_needs(job: JobManifest) -> None:
    scaled = {"ScaledJob", "TriggerAuthentication"} if job in BATCH_JOBS else {"ScaledObject", "Deployment"}
    assert {thing["kind"] for thing in job.objects} >= {"ServiceAccount", "NetworkPolicy"} | scaled


@EACH_JOB
def test_its_pod_is_of_its_image_and_its_account(job: JobManifest) -> None:
    assert job.container["name"] == job.name
    assert re.fullmatch(rf"{job.name}:[\w.-]+", job.container["image"]), job.container["image"]
    assert job.container["imagePullPolicy"] == "IfNotPresent"
    assert job.pod.spec["serviceAccountName"] == job.name


@EACH_JOB
def test_policies_and_budgets_are_about_its_own_pods(job: JobManifest) -> None:
    for policy in of_kind(job.objects, "NetworkPolicy"):
        assert policy["spec"]["podSelector"] == {"matchLabels": {"app": job.name}}
    for budget in of_kind(job.objects, "PodDisruptionBudget"):
        assert budget["spec"]["selector"] == {"matchLabels": {"app": job.name}}


@EACH_JOB
def test_every_variable_is_a_setting_or_part_of_one(job: JobManifest) -> None:
    settings = {name.upper() for name in job.settings_class.model_fields}
    parts = set(re.findall(r"\$\((\w+)\)", " ".join(value for value in job.environment.values() if value)))
    assert job.environment.keys() <= settings | parts


@EACH_JOB
def test_a_part_of_a_value_is_named_before_it(job: JobManifest) -> None:
    """Kubernetes leaves `$(NAME)` as it is where NAME comes later or never."""
    before: set[str] = set()
    for name, value in job.environment.items():
        assert set(re.findall(r"\$\((\w+)\)", value or "")) <= before, name
        before.add(name)


@EACH_JOB
def test_an_optional_config_map_of_its_name_has_the_last_word(job: JobManifest) -> None:
    """Of two `envFrom` with the same key the later one wins."""
    assert job.container["envFrom"][-1] == {"configMapRef": {"name": job.name, "optional": True}}


@EACH_WORKER
def test_it_is_given_longer_to_end_than_it_takes(job: JobManifest) -> None:
    assert job.pod.spec["terminationGracePeriodSeconds"] > job.settings.shutdown_grace_s


@EACH_JOB
def test_its_probes_ask_where_it_answers(job: JobManifest) -> None:
    assert job.container["ports"] == [{"name": "http", "containerPort": job.settings.http_port}]
    assert job.container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert job.container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@EACH_SERVICE
def test_a_service_is_one_pod_that_nothing_scales(job: JobManifest) -> None:
    assert sorted(thing["kind"] for thing in job.objects) == ["Deployment", "NetworkPolicy", "ServiceAccount"]
    assert job.one("Deployment")["spec"]["replicas"] == 1


def test_the_exporter_logs_in_to_postgresql_by_the_password_of_its_role() -> None:
    role, password = schema.EXPORTER, f"{schema.EXPORTER.upper()}_PASSWORD"
    [exporter] = [job for job in SERVICES if job.name == "exporter"]
    assert str(exporter.environment["PG_DSN"]).startswith(f"postgresql://{role}:$({password})@")
    [variable] = [one for one in exporter.container["env"] if one["name"] == password]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "postgres", "key": role}}


@EACH_EVENT_JOB
def test_keda_asks_for_the_declared_stream_and_consumer(job: JobManifest) -> None:
    trigger = job.trigger("ScaledObject")
    assert (trigger["stream"], trigger["consumer"]) == (STREAM, job.declared_consumer["durable_name"])
    assert job.one("ScaledObject")["spec"]["scaleTargetRef"] == {"name": job.name}


@EACH_EVENT_JOB
def test_it_scales_from_zero_and_leaves_the_number_of_pods_to_keda(job: JobManifest) -> None:
    spec = job.one("ScaledObject")["spec"]
    assert spec["minReplicaCount"] == 0 < spec["maxReplicaCount"]
    assert "replicas" not in job.one("Deployment")["spec"]


@EACH_EVENT_JOB
def test_a_pod_is_added_for_more_than_one_has_in_work(job: JobManifest) -> None:
    assert int(job.trigger("ScaledObject")["lagThreshold"]) > job.settings.concurrency


@EACH_BATCH_JOB
def test_keda_counts_what_workers_claim_in_parts_of_a_claim(job: JobManifest) -> None:
    table = job.batch_job.table
    trigger = job.trigger("ScaledJob")
    assert trigger["query"].split() == ["SELECT", "rows", "FROM", table.claimable]
    assert trigger["userName"] == schema.scaler_role(table)
    assert int(trigger["targetQueryValue"]) == job.settings.claim_size


@EACH_BATCH_JOB
def test_keda_and_workers_log_in_by_the_passwords_of_their_roles(job: JobManifest) -> None:
    worker, scaler = schema.worker_role(job.batch_job.table), schema.scaler_role(job.batch_job.table)
    authentication = job.one("TriggerAuthentication")
    read = {one["parameter"]: one["key"] for one in authentication["spec"]["secretTargetRef"]}
    [trigger] = job.one("ScaledJob")["spec"]["triggers"]
    assert trigger["authenticationRef"] == {"name": authentication["metadata"]["name"]}
    assert read["password"] == scaler
    assert str(job.environment["PG_DSN"]).startswith(f"postgresql://{worker}:$({worker.upper()}_PASSWORD)@")
    [password] = [one for one in job.container["env"] if one["name"] == f"{worker.upper()}_PASSWORD"]
    assert password["valueFrom"] == {"secretKeyRef": {"name": "postgres", "key": worker}}


@EACH_BATCH_JOB
def test_a_row_that_keda_counted_starts_one_job_and_a_finished_job_goes(job: JobManifest) -> None:
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


def test_downloads_may_reach_the_addresses_that_the_guard_lets_them_dial() -> None:
    rules = DOWNLOAD.one("NetworkPolicy")["spec"]["egress"]
    [(block, ports)] = [(to["ipBlock"], rule["ports"]) for rule in rules for to in rule["to"] if "ipBlock" in to]
    assert block["cidr"] == "0.0.0.0/0"
    assert sorted(block["except"]) == sorted(map(str, _DENIED_V4))
    assert ports == [{"port": 80}, {"port": 443}]


def test_downloads_of_the_largest_size_fit_in_memory() -> None:
    bodies = DOWNLOAD.settings.concurrency * DOWNLOAD.settings.download_max_bytes * 1.2
    assert DOWNLOAD.memory_limit >= AT_REST[DOWNLOAD.name] + bodies


def test_pictures_of_the_largest_size_fit_in_memory() -> None:
    """As jobs/image-resize/README.md, "Memory and time", has it; a node may have as many cores as CONCURRENCY."""
    settings = RESIZE.settings
    workers = settings.concurrency * (WORKER_AT_REST + 10 * settings.resize_max_pixels)
    originals = 3 * settings.concurrency * settings.resize_max_bytes
    assert RESIZE.memory_limit >= AT_REST[RESIZE.name] + workers + originals
