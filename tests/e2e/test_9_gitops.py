"""GitOps on an empty cluster: the folders of docs/gitops.md, applied in its order, and a picture goes through."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster import env_file, setup_record
from cluster.kubernetes import decoded
from environments import OVERLAYS
from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names

from .cluster import ENVIRONMENT, JOBS, NATS, TEST, kubectl, objects, pictures_address, run, settings, until
from .test_1_setup import may
from .traffic import events, new_numbers, not_done

pytestmark = pytest.mark.slow

OVERLAY = f"{OVERLAYS}/test"
DOWNLOAD = "image-download"
BOOTSTRAP = f"system:serviceaccount:{NATS}:bootstrap"
APPLY = ("apply", "--server-side", "-k")


@pytest.fixture(scope="module")
def credentials(images: None, ops_image: None) -> dict[str, str]:
    """Empty the cluster, and return the credentials of its test servers."""
    run("k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")
    python = {"PYTHONPATH": str(ROOT / "tools")}
    if not ENVIRONMENT.env_file.exists():
        run("python", "-m", "cluster.secrets", "make-test-file", environment=python)
    return env_file.parse(ENVIRONMENT.env_file.read_text(), ENVIRONMENT.env_file.name)


@pytest.fixture(scope="module")
def applied(credentials: dict[str, str]) -> Iterator[str]:
    """Apply platform and bootstrap, and return the log of the bootstrap."""
    # KEDA is there before, however it was installed. This installs it.
    run("k8s/setup-scripts/setup-all.sh", "--part", "cluster", "--yes")
    kubectl(*APPLY, OVERLAY)
    run("k8s/setup-scripts/secrets.sh", "--only", "test-servers")
    store = [f"--from-literal={name}={value}" for name, value in credentials.items() if name.startswith("R2_")]
    kubectl("create", "secret", "generic", "r2", "-n", JOBS, *store)  # as External Secrets would
    kubectl("create", "secret", "generic", "credentials", "-n", NATS, f"--from-env-file={ENVIRONMENT.env_file}")
    yield bootstrap()
    run("k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")


@pytest.fixture(scope="module")
def jobs(applied: str) -> Iterator[None]:
    """Apply the event jobs as the overlay's folder does, with the images on the nodes in place of digests."""
    folder = ROOT / ".build/e2e-gitops"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = job_names(EventJob)
    resources = [os.path.relpath(ROOT / "jobs" / job, folder) for job in names]
    components = [os.path.relpath(ROOT / OVERLAY / "environment", folder)]
    text = yaml.safe_dump({"resources": resources, "components": components})
    (folder / "kustomization.yaml").write_text(text)
    kubectl(*APPLY, str(folder.relative_to(ROOT)))
    settings(DOWNLOAD, DOWNLOAD_ALLOW_ADDRESSES=pictures_address())
    yield
    shutil.rmtree(folder)


def bootstrap() -> str:
    """Run the Job once more, as the document says, and return its log."""
    kubectl("delete", "job", "bootstrap", "-n", NATS, "--ignore-not-found")
    kubectl(*APPLY, f"{OVERLAY}/bootstrap")
    until("the bootstrap has ended", lambda: ended() is not None)
    log = kubectl("logs", "-n", NATS, "job/bootstrap")
    assert ended() == "Complete", log
    return log


def ended() -> str | None:
    """Return how the Job ended, None before that."""
    [job] = objects("jobs", NATS, "app=bootstrap")
    found = [one["type"] for one in job.get("status", {}).get("conditions", ()) if one["status"] == "True"]
    return next((one for one in found if one in ("Complete", "Failed")), None)


def secrets() -> dict[str, str]:
    """Map each Secret of the environment to its version."""
    found = [*objects("secrets", NATS), *objects("secrets", JOBS)]
    return {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in found}


def test_the_bootstrap_makes_what_jobs_need_from_inside(applied: str) -> None:
    assert applied.endswith("bootstrap: done\n")
    for job in job_names(EventJob):
        assert f"nats-{job}" in secrets()
    record = json.loads(kubectl("get", "configmap", "keda-jobs-setup", "-n", JOBS, "-o", "json"))["data"]
    assert record["platform"] == "skipped"
    assert setup_record.differing(record) == []


def test_a_secret_of_others_stays_and_is_said(applied: str, credentials: dict[str, str]) -> None:
    assert f"left alone, because setup did not make it: r2 in {JOBS} (" in applied
    [store] = [one for one in objects("secrets", JOBS) if one["metadata"]["name"] == "r2"]
    assert decoded(store)["R2_ACCESS_KEY_ID"] == credentials["R2_ACCESS_KEY_ID"]
    assert "labels" not in store["metadata"]


def test_a_picture_goes_through(jobs: None, tmp_path: Path) -> None:
    numbers = new_numbers(1)
    for event in events(numbers):
        run("k8s/connect.sh", "keda-jobs", "pub", DOWNLOAD, json.dumps(event))
    until("its thumbnail is stored", lambda: not not_done(numbers))


def test_a_second_bootstrap_changes_nothing(applied: str) -> None:
    before = secrets()
    assert bootstrap().endswith("bootstrap: done\n")
    assert secrets() == before


@pytest.mark.parametrize(
    "what", ["delete secrets", "create pods", "create pods/exec", "create rolebindings", "patch deployments"]
)
def test_the_bootstrap_may_do_nothing_else(applied: str, what: str) -> None:
    verb, resource = what.split()
    for namespace in (NATS, JOBS):
        assert may(BOOTSTRAP, "create", "secrets", namespace)
        assert not may(BOOTSTRAP, verb, resource, namespace)
    assert not may(BOOTSTRAP, "get", "secrets", TEST)
