"""Programs of Prometheus, which no wheel contains."""

from __future__ import annotations

import pytest

from dash import prometheus
from stack.process import StackError


def program(name: str) -> str:
    """Return the path of `prometheus` or `promtool`. End the test run when it is not installed."""
    try:
        return prometheus.program(name)
    except StackError as error:
        pytest.exit(str(error), returncode=1)
