"""Jobs from `make new-job`, as they were made, on an empty cluster: set up, deployed, scaled from zero and back."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.repo.new_jobs.repository import Repository

from .batches import finished
from .cluster import JOBS, CommandFailed, Object, is_at_zero, is_ready, kubectl, objects, pods, run, sql, until

pytestmark = pytest.mark.timeout(900)

EVENTS, ROWS = "made-events", "made-rows"
REGISTRY = "registry.example/team"


class Clone(Repository):
    """A clone of the repository with an environment of its own, in which the jobs were made and nothing was edited."""

    def do(self, *command: str, **environment: str) -> str:
        """What `command` prints, typed at the top of the clone. Raises `CommandFailed`."""
        own = {"PATH": f"{self.folder / '.venv/bin'}:{os.environ['PATH']}", "PYTHONPATH": ""}
        return run(*command, folder=self.folder, deadline_s=600, environment=own | environment)

    def tells(self, *command: str) -> Object:
        """What keda-jobs tells about the cluster."""
        told: Object = json.loads(self.do("k8s/connect.sh", "keda-jobs", *command, "--json"))
        return told


@pytest.fixture(scope="module")
def clone(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """The clone, its images on the nodes and its platform on the cluster."""
    made = Clone(tmp_path_factory.mktemp("clone") / "keda-jobs")
    made.do("make", "new-job", f"NAME={EVENTS}", "SUBJECT=made-uploaded")
    made.do("make", "new-job", f"NAME={ROWS}", "KIND=batch")
    made.do("make", "setup")
    for job in (EVENTS, ROWS):
        made.do("make", "build", f"JOB={job}")
        if load := os.environ.get("E2E_LOAD"):
            run(*shlex.split(load), f"{job}:dev")
    made.do("k8s/setup-scripts/setup-all.sh", "--overlay", "test")
    yield made
    made.do("k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")


@pytest.fixture(scope="module")
def kubeconfig(clone: Clone) -> str:
    """The kubeconfig of CI."""
    return clone.do("k8s/deployer-kubeconfig.sh", "1h")


def test_cis_kubeconfig_opens_no_secret_and_no_pod(kubeconfig: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig)
    with pytest.raises(CommandFailed, match=r"deployer.* cannot list resource .secrets"):
        kubectl("--kubeconfig", str(file), "get", "secrets")


def test_cis_deploy_step_deploys_exactly_these_jobs_by_digest_and_waits_for_them(
    clone: Clone, kubeconfig: str, tmp_path: Path
) -> None:
    digests = {
        job: run("docker", "image", "inspect", "--format", "{{.Id}}", f"{job}:dev").strip() for job in (EVENTS, ROWS)
    }
    for job, digest in digests.items():
        (tmp_path / job).write_text(f"{digest}\n")
    told = clone.do(
        "tools/ci/deploy.sh", REGISTRY=REGISTRY, DIGESTS=str(tmp_path), KUBECONFIG="", KUBECONFIG_CONTENT=kubeconfig
    )
    assert told.endswith(f"deploy: ready: {EVENTS} {ROWS}\n")
    [deployment] = objects("deployments", JOBS)
    [scaled_job] = objects("scaledjobs", JOBS)
    templates = {EVENTS: deployment["spec"]["template"], ROWS: scaled_job["spec"]["jobTargetRef"]["template"]}
    for job, template in templates.items():
        [container] = template["spec"]["containers"]
        assert container["image"] == f"{REGISTRY}/{job}@{digests[job]}"


def test_a_deploy_of_what_does_not_come_up_fails_and_says_where_to_look(
    clone: Clone, kubeconfig: str, tmp_path: Path
) -> None:
    """With a minimum of one pod, of an image that nobody has."""
    (tmp_path / EVENTS).write_text(f"sha256:{'0' * 64}\n")
    kubectl("annotate", "scaledobject", EVENTS, "-n", JOBS, "autoscaling.keda.sh/paused-replicas=1")
    try:
        until("its pod is wanted", lambda: bool(pods(EVENTS)), 120)
        with pytest.raises(CommandFailed, match=f"not ready within 5s: {EVENTS}; see: kubectl"):
            clone.do(
                "tools/ci/deploy.sh",
                REGISTRY=REGISTRY,
                DIGESTS=str(tmp_path),
                KUBECONFIG="",
                KUBECONFIG_CONTENT=kubeconfig,
                TIMEOUT="5s",
            )
    finally:
        kubectl("annotate", "scaledobject", EVENTS, "-n", JOBS, "autoscaling.keda.sh/paused-replicas-")


@pytest.fixture(scope="module")
def applied(clone: Clone) -> None:
    """Both jobs, with the images that the nodes have, at rest."""
    for job in (EVENTS, ROWS):
        clone.do("kubectl", "apply", "-f", f"jobs/{job}/service.yaml")
    until("the event job is at zero", lambda: is_at_zero(EVENTS), 180)
    until(
        "KEDA scales both",
        lambda: all(map(is_ready, (*objects("scaledobjects", JOBS), *objects("scaledjobs", JOBS)))),
        120,
    )


def test_a_new_event_job_goes_from_zero_to_one_and_back(applied: None, clone: Clone) -> None:
    for key in ("a", ""):
        clone.do("k8s/connect.sh", "keda-jobs", "pub", "made-uploaded", json.dumps({"key": key}))
    until("a pod is ready", lambda: any(map(is_ready, pods(EVENTS))), 120)
    until("it has done both events", lambda: told_of(clone) == {"lag": 0, "dead_letters": 1}, 60)
    until("it is at zero again", lambda: is_at_zero(EVENTS), 180)


def test_a_new_batch_job_does_its_rows_and_is_gone(applied: None, clone: Clone) -> None:
    sql("INSERT INTO made_rows (name) SELECT ' Ada   Lovelace ' FROM generate_series(1, 1000) UNION ALL SELECT NULL")
    until("all rows are done", lambda: rows(clone) == (1000, 1), 180)
    until("no pod is left", lambda: not pods(ROWS), 60)
    until("its Job is complete", lambda: len(finished(objects("jobs", JOBS), "Complete")) == 1, 30)


def test_the_screen_of_the_cluster_has_them(applied: None, clone: Clone) -> None:
    screen = clone.do("make", "-C", "k8s", "status")
    assert all(job in screen for job in (EVENTS, ROWS))


def told_of(clone: Clone) -> dict[str, int]:
    """The event job's lag, and the dead letters of all."""
    told = clone.tells("status")
    [consumer] = [one for one in told["consumers"] if one["name"] == f"{EVENTS}-consumer"]
    return {"lag": consumer["lag"], "dead_letters": told["dead_letters"]["total"]}


def rows(clone: Clone) -> tuple[int, int]:
    """The batch job's completed rows and those given up."""
    told = clone.tells("batch", "status", ROWS)["rows"]
    return told["completed"], told["given_up"]
