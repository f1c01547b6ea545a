"""Jobs from `make new-job`, unedited, on an empty cluster: set up, deployed, scaled from zero and back."""

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

EVENTS, ROWS, OUTBOX = MADE = ("new-events", "new-rows", "new-outbox")
REGISTRY = "registry.example/team"


class Clone(Repository):
    """Clone of the repository with its own environment."""

    def do(self, *command: str, **environment: str) -> str:
        """Run `command` at the top of the clone and return its output. Raises `CommandFailed`."""
        own = {"PATH": f"{self.folder / '.venv/bin'}:{os.environ['PATH']}", "PYTHONPATH": ""}
        return run(*command, folder=self.folder, environment=own | environment)

    def keda_jobs(self, *command: str) -> Object:
        """Return the JSON output of keda-jobs."""
        found: Object = json.loads(self.do("k8s/connect.sh", "keda-jobs", *command, "--json"))
        return found


@pytest.fixture(scope="module")
def clone(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    """Make a new job of each kind in a clone, take the images to the nodes and set the platform up."""
    clone = Clone(tmp_path_factory.mktemp("clone") / "keda-jobs")
    clone.do("make", "new-job", f"NAME={EVENTS}", "SUBJECT=file-uploaded")
    clone.do("make", "new-job", f"NAME={ROWS}", "KIND=batch")
    clone.do("make", "new-job", f"NAME={OUTBOX}", "KIND=outbox", "SUBJECT=file-uploaded")
    clone.do("make", "setup")
    for job in MADE:
        clone.do("make", "build", f"JOB={job}")
        if load := os.environ.get("E2E_LOAD"):
            run(*shlex.split(load), f"{job}:dev")
    clone.do("k8s/setup-scripts/setup-all.sh", "--yes")
    yield clone
    clone.do("k8s/setup-scripts/teardown-all.sh", "--yes", "--delete-data")


@pytest.fixture(scope="module")
def kubeconfig(clone: Clone) -> str:
    """Return the kubeconfig of CI."""
    return clone.do("k8s/deployer-kubeconfig.sh")


def test_kubeconfig_of_ci_opens_no_secret(kubeconfig: str, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(kubeconfig)
    with pytest.raises(CommandFailed, match=r"deployer.* cannot list resource .secrets"):
        kubectl("--kubeconfig", str(file), "get", "secrets")


def test_deploy_step_deploys_exactly_these_jobs_by_digest_and_waits_for_them(
    clone: Clone, kubeconfig: str, tmp_path: Path
) -> None:
    digests = {job: run("docker", "image", "inspect", "--format", "{{.Id}}", f"{job}:dev").strip() for job in MADE}
    for job, digest in digests.items():
        (tmp_path / job).write_text(f"{digest}\n")
    output = clone.do(
        "tools/ci/deploy.sh", REGISTRY=REGISTRY, DIGESTS=str(tmp_path), KUBECONFIG="", KUBECONFIG_CONTENT=kubeconfig
    )
    assert output.endswith(f"deploy: ready in test: {' '.join(sorted(MADE))}\n")
    [deployment] = objects("deployments", JOBS)
    scaled_jobs = {one["metadata"]["name"]: one["spec"]["jobTargetRef"] for one in objects("scaledjobs", JOBS)}
    templates = {EVENTS: deployment["spec"]["template"]}
    templates |= {job: scaled_jobs[job]["template"] for job in (ROWS, OUTBOX)}
    for job, template in templates.items():
        [container] = template["spec"]["containers"]
        assert container["image"] == f"{REGISTRY}/{job}@{digests[job]}"


def test_deploy_of_what_does_not_become_ready_fails_and_says_where_to_look(
    clone: Clone, kubeconfig: str, tmp_path: Path
) -> None:
    # KEDA keeps one pod, and its image does not exist.
    (tmp_path / EVENTS).write_text(f"sha256:{'0' * 64}\n")
    kubectl("annotate", "scaledobject", EVENTS, "-n", JOBS, "autoscaling.keda.sh/paused-replicas=1")
    try:
        until("its pod exists", lambda: bool(pods(EVENTS)))
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
    """Apply the jobs with the images on the nodes."""
    for job in MADE:
        clone.do("kubectl", "apply", "-f", f"jobs/{job}/service.yaml")
    until("the event job is at zero", lambda: is_at_zero(EVENTS))
    until(
        "KEDA scales all",
        lambda: all(map(is_ready, (*objects("scaledobjects", JOBS), *objects("scaledjobs", JOBS)))),
    )


def test_new_event_job_goes_from_zero_to_one_and_back(applied: None, clone: Clone) -> None:
    for key in ("a", ""):
        clone.do("k8s/connect.sh", "keda-jobs", "pub", "file-uploaded", json.dumps({"key": key}))
    until("a pod is ready", lambda: any(map(is_ready, pods(EVENTS))))
    until("it has settled both events", lambda: counts(clone) == {"lag": 0, "dead_letters": 1})
    until("it is at zero again", lambda: is_at_zero(EVENTS))


def test_new_batch_job_settles_its_rows_and_ends(applied: None, clone: Clone) -> None:
    sql("INSERT INTO new_rows (name) SELECT ' Ada   Lovelace ' FROM generate_series(1, 1000) UNION ALL SELECT NULL")
    until("all rows are settled", lambda: rows(clone) == (1000, 1))
    until("no pod is left", lambda: not pods(ROWS))
    until("its Jobs are complete", lambda: bool(jobs := objects("jobs", JOBS)) and finished(jobs, "Complete") == jobs)


def test_what_an_application_commits_wakes_the_outbox_and_its_reader_from_zero(applied: None, clone: Clone) -> None:
    before = delivered(clone)
    insert = "INSERT INTO new_outbox (subject, payload) VALUES ('file-uploaded', '{{\"key\": \"{}\"}}');"
    sql(f"BEGIN; {insert.format('committed')} COMMIT; BEGIN; {insert.format('taken back')} ROLLBACK;")
    until("the committed row is sent", lambda: sql("SELECT count(*) FROM new_outbox") == "0")
    until("the event has reached its reader", lambda: delivered(clone) == before + 1)
    until("no pod is left", lambda: not pods(OUTBOX) and is_at_zero(EVENTS))
    assert delivered(clone) == before + 1


def test_status_of_the_cluster_shows_them(applied: None, clone: Clone) -> None:
    screen = clone.do("make", "-C", "k8s", "status")
    assert all(job in screen for job in MADE)


def counts(clone: Clone) -> dict[str, int]:
    """Return the event job's lag and the number of all dead letters."""
    found = clone.keda_jobs("status")
    return {"lag": consumer(found)["lag"], "dead_letters": found["dead_letters"]["total"]}


def delivered(clone: Clone) -> int:
    """Return how many messages the event job has been given."""
    return int(consumer(clone.keda_jobs("status"))["delivered"])


def consumer(status: Object) -> Object:
    """Return the event job's consumer."""
    [found] = [one for one in status["consumers"] if one["name"] == f"{EVENTS}-consumer"]
    return dict(found)


def rows(clone: Clone) -> tuple[int, int]:
    """Return the batch job's completed rows and those that failed permanently."""
    found = clone.keda_jobs("batch", "status", ROWS)["rows"]
    return found["completed"], found["given_up"]
