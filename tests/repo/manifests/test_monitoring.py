"""Prometheus scrapes every job, and each alert has a section in the runbook."""

from __future__ import annotations

import re

import pytest

from dashboards.page import REPOSITORY
from keda_jobs.runtime.job import Job
from metrics_docs import SOURCES
from prometheus_rules import Rule, groups, rules
from stack.jobs import ROOT

from .jobs import JOBS, JobManifest
from .rendered import BASE, MADE, Object, PodTemplate, Source, of_kind, pods

FOLDER = ROOT / "k8s/monitoring"
RUNBOOK = FOLDER / "RUNBOOK.md"
OBJECTS = Source(FOLDER).objects
ALERTS = [rule for rule in rules() if "alert" in rule]

OURS = {sample.name for _, registry in SOURCES for family in registry.collect() for sample in family.samples}
# kedacore/keda v2.21.0, pkg/metricscollector/prommetrics.go
KEDA = ("keda_scaled_object_errors_total", "keda_scaled_job_errors_total", "keda_build_info")

EACH_ALERT = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_every_pod_of_a_job_is_scraped(job: JobManifest[Job]) -> None:
    assert is_scraped(job.pod)
    assert job.pod.labels[jobs_monitor()["spec"]["jobLabel"]] == job.name


@pytest.mark.parametrize("source", MADE, ids=lambda source: source.name)
def test_in_a_new_environment_the_pods_of_jobs_and_no_others_are_scraped(source: Source) -> None:
    assert source.environment
    for pod in pods(source.objects):
        is_here = pod.owner["metadata"]["namespace"] == source.environment.jobs_namespace
        # That of a CronJob is over before the next scrape.
        assert is_scraped(pod) == (is_here and pod.owner["kind"] != "CronJob"), str(pod)


def test_what_is_scraped_keeps_its_own_labels_and_answers_in_time() -> None:
    for monitor in of_kind(OBJECTS, "PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            assert endpoint["honorLabels"] is True
            assert int(endpoint["scrapeTimeout"].rstrip("s")) < int(endpoint["interval"].rstrip("s"))


def test_prometheus_is_let_in_where_these_objects_are() -> None:
    [policy] = [
        thing for thing in of_kind(Source(BASE).objects, "NetworkPolicy") if thing["metadata"]["name"] == "metrics"
    ]
    [rule] = policy["spec"]["ingress"]
    admitted = {one["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for one in rule["from"]}
    assert {thing["metadata"]["namespace"] for thing in OBJECTS} == admitted


def test_every_rule_of_the_folder_is_applied() -> None:
    applied = [group for thing in of_kind(OBJECTS, "PrometheusRule") for group in thing["spec"]["groups"]]
    by_name = [sorted(found, key=lambda group: str(group["name"])) for found in (applied, groups())]
    assert by_name[0] == by_name[1]


@EACH_ALERT
def test_an_alert_has_severity_texts_and_a_link(rule: Rule) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}


@EACH_ALERT
def test_the_link_of_an_alert_leads_to_its_section(rule: Rule) -> None:
    address, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert address == f"{REPOSITORY}/{RUNBOOK.relative_to(ROOT)}"
    assert anchor == rule["alert"].lower()


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert sorted(sections()) == sorted(rule["alert"] for rule in ALERTS)


@pytest.mark.parametrize("part", ["**Means**:", "**Look at**:", "**Fix**:", "**Safe to ignore when**"])
def test_every_section_has_all_parts(part: str) -> None:
    assert [name for name, text in sections().items() if part not in text] == []


def test_rules_name_metrics_that_are_exposed() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    named = {name for rule in rules() for name in metrics(rule["expr"])}
    assert named - recorded - OURS == {*KEDA, "up"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_keeps_the_environments_apart(rule: Rule) -> None:
    """Check each rule, since one Prometheus may watch several environments with the same jobs."""
    grouped = re.findall(r"\b(?:by|on) \(([\w, ]*)\)", rule["expr"])
    assert [labels for labels in grouped if "namespace" not in labels.split(", ")] == []


def test_no_rule_names_a_job() -> None:
    names = {job.name for job in JOBS}
    assert [rule for rule in rules() if any(name in rule["expr"] for name in names)] == []


def sections() -> dict[str, str]:
    """Return the sections of the runbook by their headings."""
    parts = re.split(r"^## (\S+)\n", RUNBOOK.read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def metrics(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    return set(re.findall(r"\b(?:\w+:)?keda_\w+(?::\w+)*|\bup\b", expression))


def jobs_monitor() -> Object:
    """Return the PodMonitor of the jobs."""
    [monitor] = [one for one in of_kind(OBJECTS, "PodMonitor") if one["metadata"]["name"] == "keda-jobs"]
    return monitor


def is_scraped(pod: PodTemplate) -> bool:
    """Return whether the jobs' monitor finds the pod, wherever it is."""
    spec = jobs_monitor()["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    [endpoint] = spec["podMetricsEndpoints"]
    ports = {port["name"] for container in pod.containers for port in container.get("ports", ())}
    return endpoint["port"] in ports and spec["selector"]["matchLabels"].items() <= pod.labels.items()
