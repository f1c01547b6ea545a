"""Calculations of `make bench`. Its figures depend on the machine, so no test looks at them."""

from __future__ import annotations

import importlib
import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console, RenderableType

from stack import StackError
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
    """Return a function that imports a module of the benchmark, which is a program and not a package."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    return importlib.import_module


def _printed(what: RenderableType) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=200).print(what)
    return text.getvalue().splitlines()


def test_cpu_time_counts_a_process_and_its_children_alive_or_gone(bench: Callable[[str], ModuleType]) -> None:
    cpu_time = bench("cpu_time")
    if not cpu_time.readable():
        pytest.skip("this system has no /proc")
    with subprocess.Popen([sys.executable, "-c", _FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as family:
        assert family.stdout is not None
        family.stdout.readline()
        assert 0.85 < cpu_time.of_tree(family.pid) < 1.15
        family.kill()


def test_ratio_is_the_median_of_the_ratios_of_all_rounds(bench: Callable[[str], ModuleType]) -> None:
    results = bench("results")
    baseline = results.Baseline(results.Series("theirs", (5.0, 10.0, 30.0)))

    comparison = results.Comparison("speed", "1/s", results.Series("ours", (10.0, 20.0, 30.0)), [baseline])

    assert comparison.ratio(baseline) == 2.0


def test_ratio_beyond_its_bound_is_reported(bench: Callable[[str], ModuleType]) -> None:
    results = bench("results")
    ours, theirs = results.Series("ours", (20.0,)), results.Series("theirs", (10.0,))
    bounds = (None, results.Bound(least=2), results.Bound(least=2.1), results.Bound(most=2), results.Bound(most=1.9))
    baselines = [results.Baseline(theirs, bound) for bound in bounds]

    comparison = results.Comparison("speed", "1/s", ours, baselines)

    assert comparison.misses == [
        "speed: ours is 2.00 times theirs, and must be ≥ 2.1",
        "speed: ours is 2.00 times theirs, and must be ≤ 1.9",
    ]


def test_table_has_a_line_for_each_series_and_a_ratio_for_each_baseline(
    bench: Callable[[str], ModuleType],
) -> None:
    results, report = bench("results"), bench("report")
    baselines = [
        results.Baseline(results.Series("plain", (10_000.0, 12_000.0)), results.Bound(least=3)),
        results.Baseline(results.Series("queue", (4.0, 5.0))),
    ]
    comparison = results.Comparison("speed", "rows/s", results.Series("ours", (40_000.0, 48_000.0)), baselines)

    lines = _printed(report.as_table([comparison]))

    assert [re.split(r" {2,}", line.strip()) for line in lines[2:5]] == [
        ["ours", "rows/s", "44,000", "40,000–48,000"],
        ["plain", "rows/s", "11,000", "10,000–12,000", "4.00", "≥ 3"],
        ["queue", "rows/s", "4.5", "4.0–5.0", "9800.00"],
    ]


async def test_contestants_take_turns(bench: Callable[[str], ModuleType]) -> None:
    turns = bench("turns")
    steps: list[str] = []
    figures = iter(range(4))

    async def turn() -> float:
        return float(next(figures))

    series = await turns.in_turn("race", {"hare": turn, "tortoise": turn}, 2, steps.append)

    assert {name: one.values for name, one in series.items()} == {"hare": (0.0, 2.0), "tortoise": (1.0, 3.0)}
    assert steps == [
        "race: round 1 of 2, hare",
        "race: round 1 of 2, tortoise",
        "race: round 2 of 2, hare",
        "race: round 2 of 2, tortoise",
    ]


async def test_programs_run_together_until_each_has_ended(bench: Callable[[str], ModuleType], tmp_path: Path) -> None:
    scripts = bench("scripts")
    both = [scripts.Script(name, ["-c", f"print('{name}')"], tmp_path / name) for name in ("one", "two")]

    await scripts.run_together(both, deadline_s=20)

    assert [script.last_line() for script in both] == ["one", "two"]


async def test_failing_program_is_reported_with_its_last_line(
    bench: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    scripts = bench("scripts")
    works = scripts.Script("works", ["-c", "pass"], tmp_path / "works.log")
    fails = scripts.Script("fails", ["-c", "raise SystemExit('no rows')"], tmp_path / "fails.log")

    with pytest.raises(StackError, match=r"fails exited with 1: no rows"):
        await scripts.run_together([works, fails], deadline_s=20)


async def test_programs_that_take_too_long_are_killed(bench: Callable[[str], ModuleType], tmp_path: Path) -> None:
    scripts = bench("scripts")
    waits = scripts.Script("waits", ["-c", "import signal; signal.pause()"], tmp_path / "waits.log")

    with pytest.raises(StackError, match=r"waits was not done within 0\.1 s"):
        await scripts.run_together([waits], deadline_s=0.1)

    assert not waits.alive


def test_note_explains_the_figures_of_processing(bench: Callable[[str], ModuleType]) -> None:
    process = bench("batch_process")
    contestants = process.Processing(None, Path(), 1000).contestants()
    shares = {contestant.name: number / 10 for number, contestant in enumerate(contestants)}

    note = process.note(1000, shares)

    assert note.startswith("1,000 users")
    assert "HOT updates: 0% with users-batch, 40% with people's own index on batch_status beside it, 10% plain." in note
    assert {"batch_size 100", "concurrency 30"} <= set(re.findall(r"\w+ \d+", note))


def test_note_names_the_settings_of_the_job_queues() -> None:
    folder = ROOT / "tests" / "bench"

    assert "\nBATCH = 100\n" in (folder / "pgqueuer_app.py").read_text()
    assert "\nCONCURRENCY = 30\n" in (folder / "procrastinate_app.py").read_text()
