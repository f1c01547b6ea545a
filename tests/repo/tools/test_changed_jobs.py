"""Jobs that a change touches, in a git repository with the jobs and build files of this one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.repo.ci.repository import ONE, Repository

import changed_jobs
from changed_jobs import OPS
from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names, package_name

ALL = changed_jobs.all_images(ROOT)
OTHER = job_names(EventJob)[1]
SOURCE = f"jobs/{ONE}/src/{package_name(ONE)}/__main__.py"
NEW = "made-here"

Jobs = Callable[..., list[str]]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Create a repository with one commit, tagged `base`, and the branch `main` checked out."""
    return Repository.with_jobs(tmp_path / "repository")


@pytest.fixture
def jobs(repository: Repository) -> Jobs:
    """Return a function that lists the jobs changed since a commit: `jobs()`, `jobs("HEAD~1")`."""
    return lambda base="base": changed_jobs.changed(base, repository.path).jobs


@pytest.mark.parametrize(
    ("paths", "touched"),
    [
        ((SOURCE, f"jobs/{ONE}/src/{package_name(ONE)}/new.py"), [ONE, OPS]),
        ([f"jobs/{ONE}/{file}" for file in ("consumer.json", "job.toml")], [ONE, OPS]),
        ([f"jobs/{ONE}/{file}" for file in ("Dockerfile", "service.yaml")], [ONE]),
        (
            ("tools/ops/Dockerfile", "tools/cluster/bootstrap.py", "k8s/manual/prod/r2.yaml.tpl", "jobs/stream.json"),
            [OPS],
        ),
        ([f"shared-py/src/keda_jobs/{file}" for file in ("domain/policy.py", "cli/status.py", "new.py")], ALL),
        (("shared-py/pyproject.toml", "requirements/dev.txt", "requirements/event-job.txt"), ALL),
        ((".dockerignore", "Makefile", "tools/build.sh"), ALL),
        (("README.md", f"jobs/{ONE}/README.md", "k8s/README.md", "tools/lint.sh", "jobs/nats-streams-config.sh"), []),
        ((f"jobs/{ONE}/tests/test_new.py", "tests/repo/test_new.py", "shared-py/tests/unit/test_new.py"), []),
    ],
)
def test_a_path_touches_the_jobs_whose_image_or_manifest_it_is_in(paths: list[str], touched: list[str]) -> None:
    for path in paths:
        assert changed_jobs.touched({path}) == touched, path


def test_a_rename_touches_the_jobs_of_both_paths(repository: Repository, jobs: Jobs) -> None:
    repository.git("mv", SOURCE, f"jobs/{OTHER}/src/{package_name(OTHER)}/moved.py")
    repository.commit()
    assert jobs() == [ONE, OTHER, OPS]


def test_a_deleted_file_touches_the_job(repository: Repository, jobs: Jobs) -> None:
    (repository.path / SOURCE).unlink()
    repository.commit()
    assert jobs() == [ONE, OPS]


def test_a_renamed_job_is_a_deleted_and_a_new_one_whose_consumer_needs_a_setup(repository: Repository) -> None:
    repository.new_job(NEW)
    shutil.rmtree(repository.path / "jobs" / ONE)
    repository.commit()
    consumers = [f"jobs/{ONE}/consumer.json", f"jobs/{NEW}/consumer.json"]
    assert changed_jobs.changed("base", repository.path) == changed_jobs.Change([OPS, NEW], [ONE], consumers)


def test_a_merge_touches_what_the_branch_changed_and_not_what_main_did(repository: Repository, jobs: Jobs) -> None:
    repository.git("switch", "--quiet", "--create", "branch")
    repository.touch(SOURCE)
    repository.commit()
    repository.git("switch", "--quiet", "main")
    repository.touch(f"jobs/{OTHER}/service.yaml")
    main = repository.commit()
    assert jobs("branch") == [OTHER]
    repository.git("merge", "--quiet", "--no-edit", "branch")
    assert jobs(main) == [ONE, OPS]
    assert jobs() == [ONE, OTHER, OPS]


def test_uncommitted_work_counts(repository: Repository, jobs: Jobs) -> None:
    repository.touch(f"jobs/{ONE}/src/{package_name(ONE)}/ünder work.py")
    repository.touch(f"jobs/{OTHER}/service.yaml")
    assert jobs() == [ONE, OTHER, OPS]


def test_no_change_touches_no_job(jobs: Jobs) -> None:
    assert jobs() == jobs("main") == []


@pytest.mark.parametrize("base", ["", "0" * 40, "origin/main", "--all"])
def test_without_a_base_every_job_is_taken_and_stderr_says_so(
    repository: Repository, base: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert changed_jobs.main(["--", base], repository.path) == 0
    output = capsys.readouterr()
    assert output.out.split() == ALL
    assert output.err.endswith("taking every job\n")
    assert output.err.count("\n") == 1


def test_without_a_commit_in_common_every_job_is_taken(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.git("switch", "--quiet", "--orphan", "another")
    repository.git("checkout", "--quiet", "main", "--", ".")
    repository.touch("another")
    repository.commit()
    changed_jobs.main(["main"], repository.path)
    output = capsys.readouterr()
    assert output.out.split() == ALL
    assert "no commit in common" in output.err


def test_json_is_the_matrix_of_a_workflow(repository: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    assert changed_jobs.main(["base", "--json"], repository.path) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": [], "any": False, "deleted": [], "setup": []}
    assert changed_jobs.main(["--all", "--json"], repository.path) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": ALL, "any": True, "deleted": [], "setup": []}


@pytest.mark.parametrize(
    ("instructions", "sources"),
    [
        ("COPY a b /c/", ["a", "b"]),
        ("copy --chown=1:1 ./a/ \\\n  b/x.txt /c/", ["a", "b/x.txt"]),
        ('COPY ["a b", "/c/"]', ["a b"]),
        ("COPY --from=build /layers /\nADD a /c", ["a"]),
        ("COPY . /c", ["."]),
        ("COPY jobs/${JOB}/src /c", ["jobs/**/src"]),
        ("# COPY a /c\nRUN cp a /c", []),
    ],
)
def test_paths_that_a_dockerfile_copies_from_the_context(instructions: str, sources: list[str]) -> None:
    assert changed_jobs.copied(instructions) == sources
