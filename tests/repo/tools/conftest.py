"""Package of a job that does not exist in this repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .fake_cluster import FakeCluster


@pytest.fixture
def new_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the package of the job `new-here`, without a module `job`, in a repository `tmp_path`."""
    for module in ("new_here", "new_here.job"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    package = tmp_path / "jobs" / "new-here" / "src" / "new_here"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return package


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """Put an empty cluster in place of kubectl."""
    found = FakeCluster()
    found.patch(monkeypatch)
    return found
