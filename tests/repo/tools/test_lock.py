"""Lock files agree with the requirements of the projects, and contain no address of an index."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import lock
from stack.jobs import ROOT

PATHS = [found.path for found in lock.locks()]
SHARED = [found.path for found in lock.locks() if found.library]
PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[[a-z,]+\])?==(\S+)", re.MULTILINE)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the locks and their inputs."""
    for pattern in (
        "shared-py/pyproject.toml",
        "jobs/*/pyproject.toml",
        "jobs/*/requirements.txt",
        "tools/*/pyproject.toml",
        "requirements/*",
    ):
        for source in ROOT.glob(pattern):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return tmp_path


def edit(path: Path, change: Callable[[str], str]) -> None:
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before


def test_a_new_dependency_of_a_job_makes_its_own_lock_and_the_common_ones_stale(copy: Path) -> None:
    edit(copy / "jobs/image-resize/pyproject.toml", lambda text: text.replace('"pillow', '"numpy",\n    "pillow'))
    assert lock.stale(copy) == [
        "requirements/dev.txt",
        "requirements/ops.txt",
        "jobs/image-resize/requirements.txt",
    ]


def test_a_new_requirement_of_the_library_makes_every_lock_with_it_stale(copy: Path) -> None:
    edit(copy / "shared-py/pyproject.toml", lambda text: text.replace("nats-py[nkeys]>=", "nats-py[nkeys]>=2."))
    assert lock.stale(copy) == SHARED


def test_a_new_tool_and_a_new_job_are_noticed(copy: Path) -> None:
    edit(copy / "requirements/bench.in", lambda text: text + "arq\n")
    shutil.copytree(copy / "jobs/image-resize", copy / "jobs/another", ignore=shutil.ignore_patterns("*.txt"))
    assert lock.stale(copy) == ["requirements/bench.txt", "jobs/another/requirements.txt"]


def test_a_comment_or_a_version_makes_no_lock_stale(copy: Path) -> None:
    edit(copy / "requirements/dev.in", lambda text: f"# a word\n\n{text}")
    edit(copy / "jobs/image-resize/pyproject.toml", lambda text: text.replace('version = "', 'version = "1.'))
    assert lock.stale(copy) == lock.stale(ROOT)


@pytest.mark.parametrize("path", PATHS)
def test_a_lock_has_hashes_for_every_package_and_names_no_address(path: str) -> None:
    text = (ROOT / path).read_text()
    assert "://" not in text
    packages = re.split(r"\n(?=[a-z0-9])", text[text.index("\n") + 1 :])
    assert all("--hash=sha256:" in package for package in packages)


@pytest.mark.parametrize("path", SHARED)
def test_an_image_gets_the_versions_that_were_tested(path: str) -> None:
    # The machine of a developer may have a kubectl of its own, so that one has a lock of its own.
    locks = ("requirements/dev.txt", "requirements/kubectl.txt")
    tested = dict(pin for lock_ in locks for pin in PIN.findall((ROOT / lock_).read_text()))
    shipped = dict(PIN.findall((ROOT / path).read_text()))
    assert shipped
    assert shipped.items() <= tested.items()
