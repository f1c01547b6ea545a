"""Prometheus' programs, which no wheel brings."""

from __future__ import annotations

import pytest

from dash import prometheus
from stack.process import StackError


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; without it the run ends here."""
    try:
        return prometheus.program(name)
    except StackError as error:
        pytest.exit(str(error), returncode=1)
