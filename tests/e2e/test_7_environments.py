"""Two environments in one cluster: both work, no event of one reaches the other, one goes and the other goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from environments import Environment, load
from keda_jobs.event.job import EventJob
from stack.jobs import job_names

from .cluster import kubectl, settings, until
from .made import DOWNLOAD, inside, made, missing, publish
from .probes import Probe, job_pod, started
from .traffic import events, new_numbers

NAME = "e2e-other"
PICTURES = 2


@pytest.fixture(scope="module")
def here() -> Environment:
    """Return the facts of the environment that all tests use."""
    return load("test")


@pytest.fixture(scope="module")
def other(deployed: None) -> Iterator[Environment]:
    """Make a second environment with test servers of its own, and deploy the event jobs to it."""
    with made(NAME):
        found = load(NAME)
        inside(found, "k8s/setup-scripts/setup-all.sh", "--yes")
        for job in job_names(EventJob):
            inside(found, "tools/deploy.sh", job, TAG="dev", REGISTRY="")
        yield found
        inside(found, "k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")


@pytest.fixture(scope="module")
def allowed(here: Environment, other: Environment) -> Iterator[None]:
    """Let the jobs of each environment download from its picture server."""
    for one in (here, other):
        [event] = events([0], servers=one.test_namespace)
        settings(DOWNLOAD, one.jobs_namespace, DOWNLOAD_ALLOW_ADDRESSES=event["url"].split("/")[2])
    yield
    settings(DOWNLOAD)


def test_an_event_is_worked_on_in_its_own_environment_only(
    allowed: None, here: Environment, other: Environment
) -> None:
    ours, theirs = numbers = new_numbers(PICTURES), new_numbers(2 * PICTURES)[PICTURES:]
    for one, some in zip((here, other), numbers, strict=True):
        publish(one, some)
    until("each environment has its own pictures", lambda: not (missing(here, ours) or missing(other, theirs)))
    assert missing(here, theirs) == theirs
    assert missing(other, ours) == ours


def test_no_job_reaches_the_servers_of_the_other_environment(here: Environment, other: Environment) -> None:
    for mine, foreign in ((here, other), (other, here)):
        with started([job_pod(DOWNLOAD, mine.jobs_namespace)]) as probes:
            [probe] = probes.values()
            until_all_answer(probe, addresses(mine))
            assert not any(probe.reaches(addresses(foreign)))


def test_one_is_torn_down_and_the_other_goes_on(allowed: None, here: Environment, other: Environment) -> None:
    policies = ("get", "validatingadmissionpolicies,validatingadmissionpolicybindings", "--output=name")
    inside(other, "k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")
    left = kubectl("get", "namespaces", "--output=name").split()
    assert {f"namespace/{name}" for name in other.namespaces}.isdisjoint(left)
    assert {f"namespace/{name}" for name in (*here.namespaces, "keda")} <= set(left)
    assert kubectl(*policies, "--selector", f"keda-jobs/environment={NAME}") == ""
    assert len(kubectl(*policies, "--selector", "keda-jobs/environment=test").split()) == 4

    some = new_numbers(PICTURES)
    publish(here, some)
    until("the environment that is left works on", lambda: not missing(here, some))


def until_all_answer(probe: Probe, targets: Sequence[str]) -> None:
    """Wait until the policies know the pod."""
    until("its own servers answer", lambda: all(probe.reaches(targets)))


def addresses(environment: Environment) -> list[str]:
    """Return what an environment's image-download may reach."""
    servers = environment.test_namespace
    return [environment.nats_url.removeprefix("nats://"), f"s3.{servers}.svc:9000", f"pictures.{servers}.svc:80"]
