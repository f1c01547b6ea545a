"""Jobs share only the library. import-linter checks the rules inside the library, see pyproject.toml."""

from __future__ import annotations

from functools import cache

import grimp
import pytest

from stack import job_names
from stack.jobs import package_name

LIBRARY = "keda_jobs"
JOBS = [package_name(job) for job in job_names()]


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(LIBRARY, *JOBS, cache_dir=None)


@pytest.mark.parametrize("package", [LIBRARY, *JOBS])
def test_nothing_else_imports_a_job(package: str) -> None:
    others = [job for job in JOBS if job != package]
    found = [chain for other in others for chain in imports().find_shortest_chains(package, other, as_packages=True)]
    assert found == []


@pytest.mark.parametrize("job", JOBS)
def test_a_job_imports_the_library(job: str) -> None:
    assert imports().find_shortest_chains(job, LIBRARY, as_packages=True)
