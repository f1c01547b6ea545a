"""A cluster with everything on it: KUBECONFIG names it, E2E_LOAD is the command that takes an image to its nodes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.jobs import ROOT, event_jobs

from .cluster import JOBS, is_at_zero, kubectl, pictures_address, run, settings, until

REPORT = ROOT / ".stack" / "e2e"
EVENT_JOBS = event_jobs()
JOB_IMAGES = [f"{path.parent.name}:dev" for path in sorted(ROOT.glob("jobs/*/Dockerfile"))]
IMAGES = [*JOB_IMAGES, "keda-jobs-test-servers:dev", "nats:2.15-alpine", "postgres:17"]


@pytest.fixture(scope="session")
def report() -> Path:
    """Where figures and curves are written."""
    REPORT.mkdir(parents=True, exist_ok=True)
    return REPORT


@pytest.fixture(scope="session")
def images() -> None:
    """The images of this checkout, on the cluster's nodes."""
    if load := os.environ.get("E2E_LOAD"):
        for image in IMAGES:
            run(*shlex.split(load), image)


@pytest.fixture(scope="session")
def platform(images: None) -> None:
    """The cluster after setup-all.sh, with the test servers."""
    run("k8s/setup-scripts/setup-all.sh", "--overlay", "test", deadline_s=600)


@pytest.fixture(scope="session")
def deployed(platform: None) -> None:
    """Every job applied from its own file."""
    for manifest in sorted(ROOT.glob("jobs/*/service.yaml")):
        kubectl("apply", "-f", str(manifest.relative_to(ROOT)))


@pytest.fixture
def at_rest(deployed: None) -> Iterator[None]:
    """The event jobs at zero, allowed to download from the picture server, with the manifests' own settings else."""
    settings("image-download", DOWNLOAD_ALLOW_ADDRESSES=pictures_address())
    settings("image-resize")
    until("no pod of an event job is left", lambda: all(map(is_at_zero, EVENT_JOBS)), 180)
    yield
    kubectl("delete", "configmap", *EVENT_JOBS, "-n", JOBS, "--ignore-not-found")
