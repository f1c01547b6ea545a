"""Refusals of tools/build.sh and tools/deploy.sh, and manifests of deploy.sh. tests/images tests the images."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from stack import job_names
from stack.jobs import ROOT

JOBS = job_names()
DEPLOYED = f"there are: {' '.join(JOBS)}"
BUILT = f"{DEPLOYED} keda-jobs-ops"
EACH_LIST = pytest.mark.parametrize(("script", "there_are"), [("build.sh", BUILT), ("deploy.sh", DEPLOYED)])
DIGEST = f"sha256:{'0' * 64}"


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {
        name: value
        for name, value in os.environ.items()
        if name not in ("REGISTRY", "TAG", "BASE", "DOCKER", "PULL_SECRET")
    }
    return subprocess.run(
        [str(ROOT / "tools" / script), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**own, "TAG": "v1", **environment},
    )


def refusal(script: str, *arguments: str, **environment: str) -> str:
    """Return the one line that says why the script does nothing."""
    ended = run(script, *arguments, **environment)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.count("\n") == 1
    return ended.stderr.strip()


def images(job: str, **environment: str) -> set[str]:
    """List the images that a deploy of `job` would run."""
    ended = run("deploy.sh", job, "--dry-run", **environment)
    assert (ended.returncode, ended.stderr) == (0, "")
    return set(re.findall(r"^\s*(?:- )?image: (\S+)$", ended.stdout, re.MULTILINE))


def test_every_job_is_found_by_its_folder() -> None:
    assert refusal("build.sh") == f"build: name a job, or --all; {BUILT}"
    assert refusal("deploy.sh") == f"deploy: there is no job ''; {DEPLOYED}"


@EACH_LIST
def test_an_unknown_job_is_refused_with_a_list_of_the_jobs(script: str, there_are: str) -> None:
    assert refusal(script, "no-such-job").endswith(f"there is no job 'no-such-job'; {there_are}")


@pytest.mark.parametrize("script", ["build.sh", "deploy.sh"])
def test_latest_is_no_version(script: str) -> None:
    assert "TAG=latest" in refusal(script, JOBS[0], TAG="latest")


def test_pushing_needs_a_registry() -> None:
    assert refusal("build.sh", "--all", "--push") == "build: pushing needs REGISTRY=<host>/<path>"


def test_a_missing_or_stopped_docker_is_one_line() -> None:
    assert refusal("build.sh", JOBS[0], DOCKER="no-docker") == "build: no-docker is not installed"
    assert refusal("build.sh", JOBS[0], DOCKER="false").startswith("build: false does not answer; start it")


@pytest.mark.parametrize("job", JOBS)
def test_a_job_is_deployed_with_the_image_that_was_built(job: str) -> None:
    assert images(job) == {f"{job}:v1"}
    assert images(job, REGISTRY="registry.example:5000/team") == {f"registry.example:5000/team/{job}:v1"}
    assert images(job, TAG="2026") == {f"{job}:2026"}
    assert images(job, TAG=DIGEST, REGISTRY="registry.example") == {f"registry.example/{job}@{DIGEST}"}


def test_pods_pull_with_the_secret_that_a_deploy_names() -> None:
    objects = run("deploy.sh", JOBS[0], "--dry-run", PULL_SECRET="mine").stdout.split("---")
    [account] = [one for one in objects if "kind: ServiceAccount" in one]
    assert "imagePullSecrets:\n- name: mine\n" in account
    assert "imagePullSecrets" not in run("deploy.sh", JOBS[0], "--dry-run").stdout


def test_deploy_refuses_an_unknown_option() -> None:
    assert "--dry" in refusal("deploy.sh", JOBS[0], "--dry")
