"""Prometheus' programs, which no wheel brings."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`, or what PROMETHEUS or PROMTOOL names; without it the run ends here."""
    variable = name.upper()
    if found := shutil.which(os.environ.get(variable) or name):
        return found
    pytest.exit(f"{name} is not here: apt-get install prometheus, or {variable}=/path/of/{name}", returncode=1)
