"""Image keda-jobs-ops: its tools start with the rights of the pod in k8s/kustomize/bootstrap, and know every job."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from docker.models.images import Image

from stack import job_names

from .containers import OPS, Running

Start = Callable[..., Running]

EACH_OF_OPS = pytest.mark.parametrize("name", [OPS], indirect=True)


@EACH_OF_OPS
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("keda-jobs --help", "streams"),
        ("kubectl version --client", "Client Version"),
        ("keda-jobs streams apply --help", "--dry-run"),
        ("python -m cluster.bootstrap --help", "python -m cluster.bootstrap"),
        ("k8s/connect.sh --help", "Usage: k8s/connect.sh"),
        ("k8s/pause.sh --help", "Usage: k8s/pause.sh"),
    ],
)
@pytest.mark.usefixtures("image")
def test_a_tool_starts(name: str, command: str, shown: str, start: Start) -> None:
    running = start(f"{name}:dev", {}, *command.split())
    assert (running.exit_code(), shown in running.log()) == (0, True), running.log()


@EACH_OF_OPS
@pytest.mark.usefixtures("image")
def test_it_knows_every_job(name: str, start: Start) -> None:
    running = start(f"{name}:dev", {}, "python", "-c", "from stack.jobs import job_names; print(*job_names())")
    assert (running.exit_code(), running.log().split()) == (0, job_names())


@EACH_OF_OPS
@pytest.mark.usefixtures("image")
def test_a_bootstrap_that_cannot_work_is_one_line(name: str, start: Start) -> None:
    facts = {"ENVIRONMENT": "prod", "JOBS_NAMESPACE": "keda-jobs-prod", "NATS_NAMESPACE": "nats"}
    running = start(f"{name}:dev", facts, "python", "-m", "cluster.bootstrap")
    assert (running.exit_code(), "Traceback" in running.log()) == (1, False), running.log()
    assert running.log().splitlines()[-1].startswith("bootstrap: ")


@EACH_OF_OPS
def test_it_runs_as_its_user_by_default(image: Image) -> None:
    assert image.attrs["Config"]["User"] == "10001:10001"
