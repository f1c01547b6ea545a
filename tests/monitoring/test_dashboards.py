"""No panel of a dashboard is empty: a real Prometheus that scrapes the real jobs has data for every query."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from stack import job_names, wait_until

from .busy_platform import Platform, busy_platform
from .grafana import Target, jobs_of, query, targets

# The first test waits for the platform to become busy.
pytestmark = pytest.mark.timeout(300)

ALL = job_names(EventJob, BatchJob)
# Jobs for each dashboard that have data for everything, including retries and dead letters.
SELECTED = {"overview": ALL, "one-job": ("image-download",), "batch": ("users-batch",)}
FAILURES = {"Dead letters", "Dead letters by class", "Retries waiting", "Failed rows"}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Yield the platform after some traffic."""
    with busy_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.mark.parametrize("target", targets(), ids=str)
def test_every_query_has_data(platform: Platform, target: Target) -> None:
    assert platform.view.values(target, SELECTED[target.dashboard])


@pytest.mark.parametrize("target", [one for one in targets() if one.panel in FAILURES], ids=str)
def test_failures_are_visible(platform: Platform, target: Target) -> None:
    assert max(platform.view.values(target, SELECTED[target.dashboard])) > 0


@pytest.mark.parametrize(
    ("dashboard", "jobs"), [("overview", ALL), ("one-job", job_names(EventJob)), ("batch", job_names(BatchJob))]
)
def test_a_dashboard_offers_every_job_that_it_can_show(platform: Platform, dashboard: str, jobs: list[str]) -> None:
    """List the jobs by the exporter's series, so that a new job appears by itself."""
    assert jobs_of(platform.view.prometheus, dashboard) == sorted(jobs)


def test_without_a_pod_every_number_holds(platform: Platform) -> None:
    """Stop the jobs, so this test is the last one."""
    for job in platform.stack.jobs:
        if job.name in job_names(EventJob):
            job.stop()
    wait_until(lambda: not query(platform.view.prometheus, "keda_jobs_concurrency_limit", time.time()))
    now = replace(platform.view, until=time.time())
    numbers = [target for target in targets() if target.instant]
    assert not [str(target) for target in numbers if not now.values(target, SELECTED[target.dashboard])]
