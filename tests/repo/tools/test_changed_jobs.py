"""Jobs that a change touches, in a git repository with the jobs and build files of this one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.repo.ci.repository import ONE, Repository

import changed_jobs
from keda_jobs.event.job import EventJob
from stack.jobs import ROOT, job_names, package_name

ALL = changed_jobs.all_jobs(ROOT)
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
    "path",
    [
        SOURCE,
        f"jobs/{ONE}/src/{package_name(ONE)}/new.py",
        f"jobs/{ONE}/Dockerfile",
        f"jobs/{ONE}/service.yaml",
        f"jobs/{ONE}/requirements.txt",
        f"jobs/{ONE}/consumer.json",
    ],
)
def test_a_change_in_one_jobs_folder_touches_that_job(repository: Repository, jobs: Jobs, path: str) -> None:
    repository.touch(path)
    repository.commit()
    assert jobs() == [ONE]


@pytest.mark.parametrize(
    "path",
    [
        "shared-py/src/keda_jobs/domain/policy.py",
        "shared-py/src/keda_jobs/cli/status.py",
        "shared-py/src/keda_jobs/new.py",
        "shared-py/pyproject.toml",
        "requirements/dev.txt",
        "requirements/event-job.txt",
        ".dockerignore",
        "Makefile",
        "tools/build.sh",
    ],
)
def test_the_library_the_locks_and_the_build_files_touch_all(repository: Repository, jobs: Jobs, path: str) -> None:
    repository.touch(path)
    repository.commit()
    assert jobs() == ALL


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        f"jobs/{ONE}/README.md",
        f"jobs/{ONE}/tests/test_new.py",
        "tests/repo/tools/test_new.py",
        "tools/lint.sh",
        "k8s/README.md",
        "shared-py/tests/unit/test_new.py",
        "jobs/stream.json",
    ],
)
def test_files_outside_of_all_images_touch_none(repository: Repository, jobs: Jobs, path: str) -> None:
    repository.touch(path)
    repository.commit()
    assert jobs() == []


def test_a_rename_touches_the_jobs_of_both_paths(repository: Repository, jobs: Jobs) -> None:
    repository.git("mv", SOURCE, f"jobs/{OTHER}/src/{package_name(OTHER)}/moved.py")
    repository.commit()
    assert jobs() == [ONE, OTHER]


def test_a_rename_into_the_tests_touches_the_job(repository: Repository, jobs: Jobs) -> None:
    repository.git("mv", SOURCE, f"jobs/{ONE}/tests/moved.py")
    repository.commit()
    assert jobs() == [ONE]


def test_a_deleted_file_touches_the_job(repository: Repository, jobs: Jobs) -> None:
    (repository.path / SOURCE).unlink()
    repository.commit()
    assert jobs() == [ONE]


def test_a_deleted_job_is_reported_and_not_built(repository: Repository) -> None:
    shutil.rmtree(repository.path / "jobs" / ONE)
    repository.commit()
    change = changed_jobs.changed("base", repository.path)
    assert (change.jobs, change.deleted) == ([], [ONE])


def test_a_renamed_job_is_a_deleted_and_a_new_one(repository: Repository) -> None:
    repository.new_job(NEW)
    shutil.rmtree(repository.path / "jobs" / ONE)
    repository.commit()
    change = changed_jobs.changed("base", repository.path)
    assert (change.jobs, change.deleted) == ([NEW], [ONE])


def test_a_new_job_is_touched_and_its_consumer_needs_a_setup(repository: Repository) -> None:
    repository.new_job(NEW)
    repository.commit()
    change = changed_jobs.changed("base", repository.path)
    assert (change.jobs, change.setup) == ([NEW], [f"jobs/{NEW}/consumer.json"])


def test_a_merge_touches_what_the_branch_changed_and_not_what_main_did(repository: Repository, jobs: Jobs) -> None:
    repository.git("switch", "--quiet", "--create", "branch")
    repository.touch(SOURCE)
    repository.commit()
    repository.git("switch", "--quiet", "main")
    repository.touch(f"jobs/{OTHER}/service.yaml")
    main = repository.commit()
    assert jobs("branch") == [OTHER]
    repository.git("merge", "--quiet", "--no-edit", "branch")
    assert jobs(main) == [ONE]
    assert jobs() == [ONE, OTHER]


def test_uncommitted_work_counts(repository: Repository, jobs: Jobs) -> None:
    repository.touch(f"jobs/{ONE}/src/{package_name(ONE)}/ünder work.py")
    repository.touch(f"jobs/{OTHER}/service.yaml")
    assert jobs() == [ONE, OTHER]


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


def test_in_a_shallow_clone_a_missing_base_means_every_job(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = repository.git("rev-parse", "HEAD")
    repository.touch("README.md")
    repository.commit()
    repository.git("clone", "--quiet", "--depth", "1", repository.path.as_uri(), str(tmp_path / "shallow"))
    changed_jobs.main([base], tmp_path / "shallow")
    output = capsys.readouterr()
    assert output.out.split() == ALL
    assert "shallow" in output.err


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
