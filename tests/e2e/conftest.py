"""Cluster with everything on it: KUBECONFIG names it, and the command E2E_LOAD takes an image to its nodes."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names

from .cluster import DEADLINE_S, JOBS, is_at_zero, kubectl, pictures_address, run, settings, until

REPORT = ROOT / ".stack" / "e2e"
EVENT_JOBS = job_names(EventJob)
JOB_IMAGES = [f"{path.parent.name}:dev" for path in sorted(ROOT.glob("jobs/*/Dockerfile"))]
IMAGES = [*JOB_IMAGES, "keda-jobs-test-servers:dev"]
# Nodes pull these, unless this machine has them, perhaps because nothing can be pulled.
PUBLIC_IMAGES = ["nats:2.15-alpine", "postgres:17"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave it to the waits of each test to fail: they say what did not happen."""
    for item in items:
        item.add_marker(pytest.mark.timeout(6 * DEADLINE_S))


@pytest.fixture(scope="session")
def report() -> Path:
    """Return the folder of the figures."""
    REPORT.mkdir(parents=True, exist_ok=True)
    return REPORT


@pytest.fixture(scope="session")
def images() -> None:
    """Take the images of this checkout to the nodes."""
    if load := os.environ.get("E2E_LOAD"):
        for image in [*IMAGES, *filter(is_here, PUBLIC_IMAGES)]:
            run(*shlex.split(load), image)


def is_here(image: str) -> bool:
    """Return whether this machine has the image. kind fails to load one that it does not have."""
    inspect = [os.environ.get("DOCKER", "docker"), "image", "inspect", image]
    return subprocess.run(inspect, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def ops_image() -> None:
    """Take the image of the bootstrap to the nodes."""
    if load := os.environ.get("E2E_LOAD"):
        run(*shlex.split(load), "keda-jobs-ops:dev")


@pytest.fixture(scope="session")
def platform(images: None) -> None:
    """Set the cluster up with the test servers."""
    run("k8s/setup-scripts/setup-all.sh", "--yes")


@pytest.fixture(scope="session")
def deployed(platform: None) -> None:
    """Apply every job from its own file."""
    for manifest in sorted(ROOT.glob("jobs/*/service.yaml")):
        kubectl("apply", "-f", str(manifest.relative_to(ROOT)))


@pytest.fixture
def at_rest(deployed: None) -> Iterator[None]:
    """Bring the event jobs to zero, with the right to download from the picture server."""
    settings("image-download", DOWNLOAD_ALLOW_ADDRESSES=pictures_address())
    settings("image-resize")
    until("no pod of an event job is left", lambda: all(map(is_at_zero, EVENT_JOBS)))
    yield
    kubectl("delete", "configmap", *EVENT_JOBS, "-n", JOBS, "--ignore-not-found")
