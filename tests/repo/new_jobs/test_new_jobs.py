"""New jobs of each kind are complete: tests, lint, manifests, locks and the local stack accept them unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

from stack import FREE_PORTS, wait_until
from stack.postgres_programs import program

from .repository import Repository

LONG = "long-names-to-the-end-of-what-is-allowed"
NEW_JOBS = [
    ("made-events", "SUBJECT=made-uploaded"),
    ("another-reader", "SUBJECT=image-downloaded"),
    (LONG, f"SUBJECT=s{LONG[1:]}"),
    ("made-rows", "KIND=batch"),
    (f"z{LONG[1:]}", "KIND=batch"),
    ("made-outbox", "KIND=outbox SUBJECT=made-sent"),
    ("made-long", "KIND=long SUBJECT=made-encoded"),
]
ENDLESS = 10**6  # seconds that the long job works
NAMES = [name for name, _ in NEW_JOBS]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def repository(shared_repository: Repository) -> Repository:
    """Make all jobs in a copy and edit nothing."""
    for name, word in NEW_JOBS:
        done = shared_repository.make("new-job", f"NAME={name}", *word.split())
        assert done.returncode == 0, done.stderr
    return shared_repository


def test_only_their_folders_and_the_streams_subjects_changed(repository: Repository) -> None:
    shared = [" M jobs/asyncapi.json", " M jobs/stream.json"]
    assert sorted(repository.changes()) == sorted([*shared, *(f"?? jobs/{name}/" for name in NAMES)])
    changed = repository.run("git", "diff", "--numstat", "jobs/stream.json").stdout.split()
    assert changed == ["6", "2", "jobs/stream.json"], "the subjects, and the line of each transform"
    subjects = json.loads(repository.read("jobs/stream.json"))["subjects"]
    assert subjects[-5:] == ["made-uploaded", f"s{LONG[1:]}", "made-sent", "made-encoded", "dead-letter"]


def test_their_own_tests_and_the_tests_of_every_job_pass(repository: Repository) -> None:
    names = ("jobs", "objects", "pods", "secrets", "nats_config")
    manifests = [f"tests/repo/manifests/test_{name}.py" for name in names]
    tools = ("build", "cluster_bootstrap", "cluster_secrets", "declarations", "import_rules", "lock", "settings_docs")
    about_all = ("tests/contracts", "tests/permissions", "jobs/exporter", *manifests)
    streams = [f"shared-py/tests/integration/{name}.py" for name in ("test_streams", "cli/test_cli_streams")]
    folders = [*(f"jobs/{name}" for name in NAMES), *about_all, *streams]
    chosen = " ".join([*folders, *(f"tests/repo/tools/test_{name}.py" for name in tools)])
    # The platform's own manifests are as they were.
    done = repository.make("test", f"ARGS=-q -p no:cacheprovider -k 'not k8s/' {chosen}")
    assert done.returncode == 0, done.stdout


def test_lint_passes(repository: Repository) -> None:
    done = repository.make("lint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def environment(repository: Repository) -> Iterator[dict[str, str]]:
    """Start the stack of the copy and yield its environment."""
    ports = " ".join(f"--{name}-port=0" for name in asdict(FREE_PORTS))
    done = repository.make("up", f"ARGS={ports}", f"STEPS={ENDLESS}")
    assert done.returncode == 0, done.stdout + done.stderr
    yield {**json.loads(repository.read(".stack/state.json"))["environment"], "HTTP_PORT": "0"}
    assert repository.make("down").stdout == "stopped\n"


def test_the_local_stack_runs_them(repository: Repository, environment: dict[str, str]) -> None:
    for key in ("a", ""):
        repository.succeed("keda-jobs", "pub", "made-uploaded", json.dumps({"key": key}), **environment)
    wait_until(lambda: outcomes(repository, "made-events") == ["acked", "dead_lettered"])
    consumers = {one["name"]: one["lag"] for one in query(repository, environment, "status")["consumers"]}
    assert consumers.keys() > {f"{name}-consumer" for name, word in NEW_JOBS if word.startswith("SUBJECT")}
    assert set(consumers.values()) == {0}

    insert = "INSERT INTO made_rows (name) VALUES (' Ada   Lovelace '), (NULL)"
    repository.succeed(str(program("psql")), environment["PG_DSN"], "-c", insert)
    repository.succeed("python", "-m", "made_rows", **environment)
    rows = query(repository, environment, "batch", "status", "made-rows")["rows"]
    assert (rows["completed"], rows["given_up"]) == (1, 1)

    insert = """INSERT INTO made_outbox (subject, payload) VALUES ('made-sent', '{"key": "a"}'), ('unknown', '{}')"""
    repository.succeed(str(program("psql")), environment["PG_DSN"], "-c", insert)
    repository.succeed("python", "-m", "made_outbox", **environment)
    left = ("-Atc", "SELECT batch_status, error FROM made_outbox")  # what was sent is deleted
    answer = repository.succeed(str(program("psql")), environment["PG_DSN"], *left)
    assert answer == "failed|UnknownSubject: subject: not one of made-sent\n"

    repository.succeed("keda-jobs", "pub", "made-encoded", json.dumps({"key": "a"}), **environment)
    [running] = wait_until(lambda: query(repository, environment, "status")["long_work"])
    assert (running["job"], running["total"]) == ("made-long", ENDLESS)
    repository.succeed("keda-jobs", "cancel", "made-long", running["id"], **environment)
    wait_until(lambda: outcomes(repository, "made-long") == ["dead_lettered"])


def outcomes(repository: Repository, job: str) -> list[str]:
    """Read the outcome of each message from the job's log."""
    lines = map(json.loads, repository.read(f".stack/{job}.log").splitlines())
    return [line["outcome"] for line in lines if "outcome" in line]


def query(repository: Repository, environment: dict[str, str], *words: str) -> dict[str, Any]:
    """Return the JSON output of keda-jobs."""
    answer: dict[str, Any] = json.loads(repository.succeed("keda-jobs", *words, "--json", **environment))
    return answer
