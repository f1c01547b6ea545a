"""`make pin`: digests in an environment's overlay, one job at a time, rendered by kustomize."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import pin
from changed_jobs import OPS, all_images
from stack.jobs import ROOT

ONE, OTHER = "image-download", "users-batch"
DIGEST, LATER = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"
REGISTRY = "registry.example:5000/team"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Copy what an overlay is rendered from."""
    for folder in ("k8s/kustomize", "k8s/nats", "jobs"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("src", "tests"))
    return tmp_path


def images(root: Path, folder: str) -> dict[str, str]:
    """Map each pod's owner to its image, as the overlay of prod renders them."""
    command = ["kubectl", "kustomize", str(root / "k8s/kustomize/overlays/prod" / folder)]
    rendered = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for one in yaml.safe_load_all(rendered):
        spec = one.get("spec", {})
        template = spec.get("jobTargetRef", spec.get("jobTemplate", {}).get("spec", spec)).get("template")
        if template:
            found[one["metadata"]["name"]] = template["spec"]["containers"][0]["image"]
    return found


def test_only_jobs_with_a_pin_are_in_the_overlay(root: Path) -> None:
    pin.pin("prod", OTHER, DIGEST, REGISTRY, root)
    pin.pin("prod", ONE, DIGEST, REGISTRY, root)
    assert images(root, "jobs") == {job: f"{REGISTRY}/{job}@{DIGEST}" for job in (ONE, OTHER)}
    pin.pin("prod", OPS, DIGEST, REGISTRY, root)
    for folder in ("bootstrap", "backup", "ops"):
        assert images(root, folder) == {folder: f"{REGISTRY}/{OPS}@{DIGEST}"}


def test_a_new_digest_is_one_changed_line_and_the_same_one_is_none(root: Path) -> None:
    for job in (ONE, OTHER):
        pin.pin("prod", job, DIGEST, REGISTRY, root)
    [file] = pin.files_of("prod", ONE, root)
    before = file.read_text().splitlines()
    pin.pin("prod", ONE, LATER, "", root)
    after = file.read_text().splitlines()
    assert [line.strip() for line in after if line not in before] == [f"digest: {LATER}"]
    assert len(after) == len(before)
    pin.pin("prod", ONE, LATER, "", root)
    assert file.read_text().splitlines() == after


def test_the_committed_files_are_what_it_writes() -> None:
    overlays = ROOT / "k8s/kustomize/overlays"
    files = [file for job in (ONE, OPS) for one in overlays.iterdir() for file in pin.files_of(one.name, job)]
    assert len(files) >= 6
    for file in files:
        assert file.read_text() == pin.text_of(file.parent.name, pin.read(file)), file


@pytest.mark.parametrize(
    ("job", "digest", "registry", "why"),
    [
        ("no-such-job", DIGEST, REGISTRY, "there is no job 'no-such-job', there are: "),
        (ONE, "", REGISTRY, "DIGEST is sha256: and 64 of 0-9 a-f, not ''"),
        (ONE, "v1", REGISTRY, "DIGEST is sha256:"),
        (ONE, f"{DIGEST}\n", REGISTRY, "DIGEST is sha256:"),
        (ONE, DIGEST.upper(), REGISTRY, "DIGEST is sha256:"),
        (ONE, DIGEST, "registry.example", "REGISTRY is <host>/<path>"),
        (ONE, DIGEST, "Registry.example/team", "REGISTRY is <host>/<path>"),
        (ONE, DIGEST, "a/b\n  - evil", "REGISTRY is <host>/<path>"),
        (ONE, DIGEST, "", f"{ONE} has no image in prod yet: name its registry"),
    ],
)
def test_what_cannot_be_pinned_changes_nothing(root: Path, job: str, digest: str, registry: str, why: str) -> None:
    [file] = pin.files_of("prod", ONE, root)
    before = file.read_text()
    with pytest.raises(pin.Refused, match=f"^{why}"):
        pin.pin("prod", job, digest, registry, root)
    assert file.read_text() == before


def test_without_a_job_all_are_listed(root: Path) -> None:
    pin.pin("prod", ONE, DIGEST, REGISTRY, root)
    lines = dict(line.split(maxsplit=1) for line in pin.table("prod", root).splitlines())
    assert list(lines) == all_images(root)
    assert lines[ONE] == f"{REGISTRY}/{ONE}@{DIGEST}"
    assert lines[OTHER] == "no pin, so not deployed"


def test_an_unknown_environment_is_one_line() -> None:
    command = [sys.executable, str(ROOT / "tools/pin.py"), "--job", ONE, "--digest", DIGEST]
    ended = subprocess.run(command, env={"ENV": "no-such"}, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (1, "", 1)
    assert ended.stderr.startswith("pin: ")
