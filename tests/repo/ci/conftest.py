"""Machine for the steps of the workflows."""

from __future__ import annotations

from pathlib import Path

import pytest

from .machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Return a machine without stand-ins."""
    return Machine(tmp_path)
