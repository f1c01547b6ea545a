"""Copies of the repository for new jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from .repository import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Copy the repository, without a new job."""
    return Repository(tmp_path / "repository")


@pytest.fixture(scope="module")
def shared_repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Copy the repository for all tests of a module."""
    return Repository(tmp_path_factory.mktemp("new-job") / "repository")
