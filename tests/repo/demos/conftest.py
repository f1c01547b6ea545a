"""Pictures of the demo, installed once."""

from __future__ import annotations

import subprocess

import pytest

from stack.jobs import ROOT


@pytest.fixture(scope="session", autouse=True)
def _pictures_installed() -> None:
    subprocess.run(["tools/setup.sh", "demo"], cwd=ROOT, check=True)
