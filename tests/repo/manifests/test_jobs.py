"""A job's manifest agrees with its settings, and what it may use is enough."""

from __future__ import annotations

import re

import pytest

from environments import DEFAULT, load
from image_download.guard import _DENIED_V4
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Job

from .jobs import EVENT_JOBS, JOBS, JobManifest, quantity
from .rendered import shown

EACH_JOB = pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
EACH_EVENT_JOB = pytest.mark.parametrize("job", EVENT_JOBS, ids=lambda job: job.name)

AT_REST = {"image-download": 80e6, "image-resize": 90e6}
WORKER_AT_REST = 60 * 2**20
[DOWNLOAD], [RESIZE] = ([job for job in JOBS if job.name == name] for name in AT_REST)


@EACH_JOB
def test_every_object_has_the_folders_name(job: JobManifest[Job]) -> None:
    named = {thing["kind"]: thing["metadata"]["name"] for thing in job.objects}
    named.pop("TriggerAuthentication", None)
    assert named == dict.fromkeys(named, job.name)
    assert {thing["metadata"]["labels"]["app"] for thing in job.objects} == {job.name}
    assert {thing["metadata"]["namespace"] for thing in job.objects} == {load(DEFAULT).jobs_namespace}


def test_no_two_jobs_have_an_object_of_the_same_name() -> None:
    names = [shown(thing) for job in JOBS for thing in job.objects]
    assert sorted(set(names)) == sorted(names)


@EACH_JOB
def test_every_variable_is_a_setting_or_part_of_one(job: JobManifest[Job]) -> None:
    parts = set(re.findall(r"\$\((\w+)\)", " ".join(value for value in job.environment.values() if value)))
    assert job.environment.keys() <= job.variables | parts | {"SECRETS_DIR"}
    assert len(job.environment) == len(job.container["env"]), "one is set twice: job.toml repeats one of the template"


@EACH_JOB
def test_its_probes_use_the_port_and_paths_of_the_job(job: JobManifest[Job]) -> None:
    assert job.container["ports"] == [{"name": "http", "containerPort": job.settings.http_port, "protocol": "TCP"}]
    assert job.container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert job.container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}


@EACH_EVENT_JOB
def test_a_pod_is_added_when_messages_exceed_one_pods_concurrency(job: JobManifest[EventJob]) -> None:
    assert int(job.trigger("ScaledObject")["lagThreshold"]) > job.settings.concurrency


def test_any_lag_of_downloads_starts_one_pod_that_resizes_and_no_second() -> None:
    [_, wake] = RESIZE.triggers("ScaledObject")
    assert wake["consumer"] == f"{DOWNLOAD.name}-consumer"
    assert "activationLagThreshold" not in wake  # KEDA's default is 0: active above it
    # The HPA asks for ceil(lag / lagThreshold) pods, and each message takes some bytes of the disk.
    assert int(wake["lagThreshold"]) * 32 > quantity("8G")


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
