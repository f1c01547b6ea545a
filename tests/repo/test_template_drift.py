"""Every job has what `make new-job` gives to a new one. It may have more, and numbers of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from keda_jobs.runtime.job import Job
from new_job.kinds import KINDS, EventPlan, Plan
from new_job.template import files
from stack import all_jobs
from stack.jobs import ROOT

# Value of an option of `make new-job` that an existing job has.
OPTIONS: dict[str, Callable[[Any], str]] = {
    "subject": lambda job: str(job.event.subject),
    "table": lambda job: str(job.table.name),
    "": lambda _: "",
}


def plan_of(job: Job) -> Plan:
    """Plan a new job like `job`. A service, which has no template, runs like an event job."""
    kind = KINDS.get(job.kind)
    return kind.from_option(job.name, OPTIONS[kind.option](job)) if kind else EventPlan(job.name, "any")


ALL = {job.name: plan_of(job) for job in all_jobs()}
PLANS = [ALL[job.name] for job in all_jobs() if job.kind in KINDS]
SERVICES = [plan for plan in ALL.values() if plan not in PLANS]

# Decisions of a job's owner. tests/repo/manifests checks them.
OWN = {
    *("cooldownPeriod", "lagThreshold", "maxReplicaCount", "policies", "pollingInterval", "stabilizationWindowSeconds"),
    *("activeDeadlineSeconds", "maxUnavailable", "targetQueryValue", "ttlSecondsAfterFinished"),
    *("resources", "terminationGracePeriodSeconds", "authenticationRef", "volumeMounts", "volumes"),
    *("ack_wait", "max_ack_pending", "max_waiting"),
    *("failureThreshold", "periodSeconds", "timeoutSeconds", "failedJobsHistoryLimit", "successfulJobsHistoryLimit"),
}


@pytest.mark.parametrize("plan", ALL.values(), ids=lambda plan: plan.name)
@pytest.mark.parametrize("file", ["Dockerfile", "kustomization.yaml"])
def test_no_line_of_the_template_is_missing_or_out_of_order(plan: Plan, file: str) -> None:
    lines = iter((folder_of(plan) / file).read_text().splitlines())
    missing = [line for line in files(plan)[file].splitlines() if line not in lines]
    assert missing == [], "add it, or change the template (tools/new_job/template) and with it every job"


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_manifest_and_consumer_have_what_the_template_has(plan: Plan) -> None:
    template = files(plan)
    expected = by_kind(template["service.yaml"])
    # users-batch has another name for it, and the tests of manifests check it.
    expected.pop("TriggerAuthentication", None)
    assert list(differences(expected, by_kind((folder_of(plan) / "service.yaml").read_text()), "")) == []
    if "consumer.json" in template:
        given = json.loads((folder_of(plan) / "consumer.json").read_text())
        assert list(differences(json.loads(template["consumer.json"]), given, "")) == []


@pytest.mark.parametrize("plan", SERVICES, ids=lambda plan: plan.name)
def test_a_service_runs_like_an_event_job_that_nothing_scales(plan: Plan) -> None:
    given = by_kind((folder_of(plan) / "service.yaml").read_text())
    expected = by_kind(files(plan)["service.yaml"])
    for kind in ("ScaledObject", "PodDisruptionBudget"):
        del expected[kind]
    del expected["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert list(differences(expected, given, "")) == []


def folder_of(plan: Plan) -> Path:
    return ROOT / "jobs" / plan.name


def by_kind(text: str) -> dict[str, Any]:
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


def differences(expected: Any, given: Any, where: str) -> Iterator[str]:
    """Yield what `expected` has and `given` lacks. The order of a list does not count."""
    if isinstance(expected, dict) and isinstance(given, dict):
        for key in expected.keys() - OWN:
            if key in given:
                yield from differences(expected[key], given[key], f"{where}.{key}")
            else:
                yield f"{where}.{key} is missing"
    elif isinstance(expected, list) and isinstance(given, list):
        for one in expected:
            if not any(not list(differences(one, other, where)) for other in given):
                yield f"{where} has no {one}"
    elif expected != given:
        yield f"{where} is {given}, not {expected}"
