"""What jobs of every kind have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def job_name(handler: Callable[..., Any]) -> str:
    """The handler's top-level package in kebab case: the name of job, consumer, image and manifest."""
    module = sys.modules[handler.__module__]
    package = (module.__package__ if module.__name__ == "__main__" else module.__name__) or module.__name__
    return package.partition(".")[0].replace("_", "-")
