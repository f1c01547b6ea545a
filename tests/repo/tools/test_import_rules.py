"""Jobs share the house and nothing else; the rules inside the house are import-linter's, in pyproject.toml."""

from __future__ import annotations

from functools import cache

import grimp
import pytest

from stack import batch_jobs, event_jobs, services

HOUSE = "keda_jobs"
JOBS = [job.replace("-", "_") for job in (*event_jobs(), *batch_jobs(), *services())]


@cache
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(HOUSE, *JOBS, cache_dir=None)


@pytest.mark.parametrize("package", [HOUSE, *JOBS])
def test_a_job_is_imported_by_nobody_else(package: str) -> None:
    others = [job for job in JOBS if job != package]
    found = [chain for other in others for chain in imports().find_shortest_chains(package, other, as_packages=True)]
    assert found == []


@pytest.mark.parametrize("job", JOBS)
def test_a_job_stands_on_the_house(job: str) -> None:
    assert imports().find_shortest_chains(job, HOUSE, as_packages=True)
