"""Package of a job that does not exist in this repository."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


@pytest.fixture
def new_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the package of the job `new-here`, without a module `job`, in a repository `tmp_path`."""
    for module in ("new_here", "new_here.job"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    package = tmp_path / "jobs" / "new-here" / "src" / "new_here"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    return package
