"""Copies of the repository, for jobs that are made there."""

from __future__ import annotations

from pathlib import Path

import pytest

from .repository import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A copy without any new job."""
    return Repository(tmp_path / "repository")


@pytest.fixture(scope="module")
def shared_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy that the tests of a module share."""
    return Repository(tmp_path_factory.mktemp("new-job") / "repository")
