"""The machine that the steps of the workflows run on."""

from __future__ import annotations

from pathlib import Path

import pytest

from .machine import Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine without a stand-in yet."""
    return Machine(tmp_path)
