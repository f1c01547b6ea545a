"""Every job still has the frame that `make new-job` gives to a new one; it may have more, and numbers of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.contracts.batch_jobs import BATCH_JOBS
from tests.contracts.jobs import JOBS, EventJob

from new_job.plan import BATCH, EVENT, Plan
from new_job.template import files
from stack.jobs import ROOT, services

PLANS = [
    *(Plan(job.name, EVENT, subject=job.read.subject) for job in JOBS),
    *(Plan(folder.name, BATCH, table=folder.job.table.name) for folder in BATCH_JOBS),
]
SERVICES = [Plan(name, EVENT, subject="any") for name in services()]
EACH_JOB = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)

# What a job's owner decides; tests/repo/manifests says what holds there.
OWN = {
    *("cooldownPeriod", "lagThreshold", "maxReplicaCount", "policies", "pollingInterval", "stabilizationWindowSeconds"),
    *("activeDeadlineSeconds", "maxUnavailable", "targetQueryValue", "ttlSecondsAfterFinished"),
    *("resources", "terminationGracePeriodSeconds", "authenticationRef", "volumeMounts", "volumes"),
    *("ack_wait", "max_ack_pending", "max_waiting"),
    *("failureThreshold", "periodSeconds", "timeoutSeconds", "failedJobsHistoryLimit", "successfulJobsHistoryLimit"),
}


@pytest.mark.parametrize("plan", [*PLANS, *SERVICES], ids=lambda plan: plan.name)
@pytest.mark.parametrize("file", ["Dockerfile", "kustomization.yaml"])
def test_no_line_of_the_template_is_missing_or_out_of_order(plan: Plan, file: str) -> None:
    lines = iter((folder_of(plan) / file).read_text().splitlines())
    missing = [line for line in files(plan)[file].splitlines() if line not in lines]
    assert missing == [], "add it, or change the template (tools/new_job/template) and with it every job"


@EACH_JOB
def test_the_manifest_has_what_the_template_has(plan: Plan) -> None:
    given = by_kind((folder_of(plan) / "service.yaml").read_text())
    wanted = by_kind(files(plan)["service.yaml"])
    # The tests of manifests are about it; that of users-batch has a name of its own.
    wanted.pop("TriggerAuthentication", None)
    assert list(differences(wanted, given, "")) == []


@pytest.mark.parametrize("plan", SERVICES, ids=lambda plan: plan.name)
def test_a_service_runs_as_an_event_job_does_and_by_itself(plan: Plan) -> None:
    given = by_kind((folder_of(plan) / "service.yaml").read_text())
    wanted = by_kind(files(plan)["service.yaml"])
    # What it takes to have several pods of it, or none.
    for kind in ("ScaledObject", "PodDisruptionBudget"):
        del wanted[kind]
    del wanted["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert list(differences(wanted, given, "")) == []
    assert given["Deployment"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_consumer_has_what_the_template_has(job: EventJob) -> None:
    wanted = files(Plan(job.name, EVENT, subject=job.read.subject))["consumer.json"]
    assert list(differences(json.loads(wanted), job.declared, "")) == []


def folder_of(plan: Plan) -> Path:
    return ROOT / "jobs" / plan.name


def by_kind(text: str) -> dict[str, Any]:
    return {thing["kind"]: thing for thing in yaml.safe_load_all(text)}


def differences(wanted: Any, given: Any, where: str) -> Iterator[str]:
    """What `wanted` has and `given` has not; a list has it at any place."""
    if isinstance(wanted, dict) and isinstance(given, dict):
        for key in wanted.keys() - OWN:
            if key in given:
                yield from differences(wanted[key], given[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is missing"
    elif isinstance(wanted, list) and isinstance(given, list):
        for one in wanted:
            if not any(not list(differences(one, other, where)) for other in given):
                yield f"{where} has no {one}"
    elif wanted != given:
        yield f"{where} is {given}, not {wanted}"
