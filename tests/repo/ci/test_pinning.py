"""Digests committed to the branch that Flux or Argo CD follow."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from changed_jobs import OPS

from .machine import DIGEST, REGISTRY, Machine
from .repository import ONE

LATER = DIGEST.replace("0", "f")
SETTINGS = {"DEPLOY_BRANCH": "deploy", "ENV": "prod", "REGISTRY": REGISTRY}
BRANCH = "deploy/prod"
PINS = "k8s/kustomize/overlays/prod/jobs/kustomization.yaml"


@pytest.fixture
def remote(machine: Machine, tmp_path: Path) -> Path:
    """Give the machine's clone a remote, and what `gh` does."""
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    machine.repository.git("remote", "add", "origin", str(remote))
    machine.stand_in("gh")
    (machine.repository.path / ".gitignore").write_text(".build\n")
    machine.repository.commit()
    return remote


def digests(machine: Machine, **content: str) -> None:
    """Write the digests of published images."""
    folder = machine.repository.path / ".build/digests"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for job, digest in content.items():
        (folder / job.replace("_", "-")).write_text(f"{digest}\n")


def pin(machine: Machine, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the step on the head of main."""
    machine.repository.git("switch", "--quiet", "main")
    head = machine.repository.git("rev-parse", "main")
    return machine.run("tools/ci/pin.sh", **SETTINGS, GITHUB_SHA=head, **environment)


def on_branch(remote: Path, path: str) -> str:
    command = ["git", "-C", str(remote), "show", f"{BRANCH}:{path}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_branch_is_main_with_the_digests_of_all_published_jobs(machine: Machine, remote: Path) -> None:
    digests(machine, image_download=DIGEST, **{OPS: DIGEST})
    assert pin(machine).returncode == 0
    assert f"newName: {REGISTRY}/{ONE}\n    digest: {DIGEST}\n" in on_branch(remote, PINS)
    for folder in ("bootstrap", "backup", "ops"):
        assert DIGEST in on_branch(remote, f"k8s/kustomize/overlays/prod/{folder}/kustomization.yaml")

    machine.repository.git("switch", "--quiet", "main")
    machine.repository.touch("README.md")
    machine.repository.commit()
    digests(machine, image_resize=LATER)
    assert pin(machine).returncode == 0
    pins = on_branch(remote, PINS)
    assert (pins.count(DIGEST), pins.count(LATER)) == (1, 1)
    assert on_branch(remote, "README.md") == (machine.repository.path / "README.md").read_text()
    assert DIGEST not in machine.repository.git("show", f"main:{PINS}")


def test_a_change_without_images_reaches_the_branch_too(machine: Machine, remote: Path) -> None:
    digests(machine, image_download=DIGEST)
    pin(machine)
    machine.repository.git("switch", "--quiet", "main")
    machine.repository.touch("k8s/kustomize/overlays/prod/store.yaml")
    machine.repository.commit()
    digests(machine)
    assert pin(machine).returncode == 0
    assert on_branch(remote, "k8s/kustomize/overlays/prod/store.yaml").endswith("\n\n")
    assert DIGEST in on_branch(remote, PINS)


def test_an_environment_without_a_bootstrap_gets_the_jobs(machine: Machine, remote: Path) -> None:
    for folder in ("bootstrap", "backup", "ops"):
        machine.repository.git("rm", "-r", "--quiet", f"k8s/kustomize/overlays/prod/{folder}")
    machine.repository.commit()
    digests(machine, image_download=DIGEST, **{OPS: DIGEST})
    ended = pin(machine)
    assert ended.returncode == 0, ended.stderr
    assert f"prod has no folder for {OPS}, so there is nothing to pin\n" in ended.stdout
    assert DIGEST in on_branch(remote, PINS)


@pytest.mark.parametrize("content", ["latest", ""])
def test_an_invalid_digest_reaches_nobody(machine: Machine, remote: Path, content: str) -> None:
    digests(machine, image_download=content)
    ended = pin(machine)
    assert ended.returncode == 1
    assert "pin: DIGEST is sha256:" in ended.stderr
    assert not subprocess.run(["git", "-C", str(remote), "branch"], capture_output=True, check=True).stdout
