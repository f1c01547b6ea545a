"""What `make bench` reckons with; its figures depend on the machine, so no test looks at them."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from stack.jobs import ROOT

_BURN = "import time\nwhile time.process_time() < 0.3: pass\n"
_FAMILY = f"""
import subprocess, sys
exec({_BURN!r})
subprocess.run([sys.executable, "-c", {_BURN!r}], check=True)
alive = subprocess.Popen([sys.executable, "-c", {_BURN!r} + "print(flush=True); input()"], stdout=subprocess.PIPE)
alive.stdout.readline()
print(flush=True)
input()
"""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Imports a module of the benchmark, which is a program and not a package."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    return importlib.import_module


def test_cpu_time_is_that_of_a_process_and_its_children_alive_or_gone(bench: Callable[[str], ModuleType]) -> None:
    cpu_time = bench("cpu_time")
    if not cpu_time.readable():
        pytest.skip("this system has no /proc")
    with subprocess.Popen([sys.executable, "-c", _FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as family:
        assert family.stdout is not None
        family.stdout.readline()
        assert 0.85 < cpu_time.of_tree(family.pid) < 1.15
        family.kill()


def test_a_ratio_is_the_median_of_the_rounds_own_ratios(bench: Callable[[str], ModuleType]) -> None:
    results = bench("results")
    baseline = results.Baseline(results.Series("theirs", (5.0, 10.0, 30.0)))

    comparison = results.Comparison("speed", "1/s", results.Series("ours", (10.0, 20.0, 30.0)), [baseline])

    assert comparison.ratio(baseline) == 2.0


def test_a_ratio_beyond_its_bound_is_named(bench: Callable[[str], ModuleType]) -> None:
    results = bench("results")
    ours, theirs = results.Series("ours", (20.0,)), results.Series("theirs", (10.0,))
    bounds = (None, results.Bound(least=2), results.Bound(least=2.1), results.Bound(most=2), results.Bound(most=1.9))
    baselines = [results.Baseline(theirs, bound) for bound in bounds]

    comparison = results.Comparison("speed", "1/s", ours, baselines)

    assert comparison.misses == [
        "speed: ours is 2.00 times theirs, and must be ≥ 2.1",
        "speed: ours is 2.00 times theirs, and must be ≤ 1.9",
    ]
