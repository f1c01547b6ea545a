"""Calculations of `make bench`. Its figures depend on the machine, so no test looks at them."""

from __future__ import annotations

import asyncio
import importlib
import io
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from rich.console import Console

from stack import until
from stack.jobs import ROOT

Modules = Callable[[str], ModuleType]

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
_SLOW_TO_STOP = """
import signal
signal.signal(signal.SIGTERM, lambda *_: print("asked to stop"))
print("up")
while True: signal.pause()
"""


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Modules:
    """Return a function that imports a module of the benchmark, which is a program and not a package."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "bench"))
    return importlib.import_module


def test_cpu_time_counts_a_process_and_its_children_alive_or_gone(bench: Modules) -> None:
    processes = bench("processes")
    if not processes.PROC.exists():
        pytest.skip("this system has no /proc")
    with subprocess.Popen([sys.executable, "-c", _FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as family:
        assert family.stdout is not None
        family.stdout.readline()
        assert 0.85 < processes.cpu_s(family.pid) < 1.15
        family.kill()


def test_ratio_is_the_median_of_the_ratios_of_all_rounds(bench: Modules) -> None:
    figures = {"ours": (10.0, 20.0, 30.0), "theirs": (5.0, 10.0, 30.0)}

    assert bench("results").Comparison("speed", "1/s", figures).ratios == {"theirs": 2.0}


def test_ratio_beyond_its_bound_is_reported(bench: Modules) -> None:
    results = bench("results")
    at_least = {name: results.Bound(least=ratio) for name, ratio in (("a", 2), ("b", 2.1))}
    at_most = {name: results.Bound(most=ratio) for name, ratio in (("c", 2), ("d", 1.9))}
    figures = {"ours": (20.0,)} | dict.fromkeys("abcde", (10.0,))

    assert results.Comparison("speed", "1/s", figures, at_least | at_most).misses == [
        "speed: ours is 2.00 times b, and must be ≥ 2.1",
        "speed: ours is 2.00 times d, and must be ≤ 1.9",
    ]


def test_table_has_a_line_for_each_contestant_and_a_ratio_for_each_baseline(bench: Modules) -> None:
    results = bench("results")
    figures = {"ours": (40_000.0, 48_000.0), "plain": (10_000.0, 12_000.0), "queue": (4.0, 5.0)}
    bounds, parts = {"plain": results.Bound(least=3)}, {"half": (20_000.0, 24_000.0)}
    comparison = results.Comparison("speed", "rows/s", figures, bounds, parts=parts)
    text = io.StringIO()

    Console(file=text, width=200).print(results.as_table([comparison]))

    assert [re.split(r" {2,}", line.strip()) for line in text.getvalue().splitlines()[2:6]] == [
        ["ours", "rows/s", "44,000", "40,000–48,000"],
        ["of it half", "rows/s", "22,000", "20,000–24,000"],
        ["plain", "rows/s", "11,000", "10,000–12,000", "4.00", "≥ 3"],
        ["queue", "rows/s", "4.5", "4.0–5.0", "9800.00"],
    ]


async def test_contestants_take_turns(bench: Modules) -> None:
    steps: list[str] = []
    turn = mock.AsyncMock(side_effect=range(4))

    results = await bench("running").Bench(Path(), 2, steps.append).in_turns("race", {"hare": turn, "tortoise": turn})

    assert results == {"hare": [0, 2], "tortoise": [1, 3]}
    assert steps == [f"race: round {number} of 2, {name}" for number in (1, 2) for name in ("hare", "tortoise")]


def test_note_explains_the_figures_of_processing(bench: Modules) -> None:
    process = bench("batch_process")

    note = process.note(1000, {name: number / 10 for number, name in enumerate(process.HOT)}, durable=True)

    assert note.startswith("1,000 users")
    assert "HOT updates: 0% with users-batch, 10% with people's own index on batch_status alongside, 20% plain." in note
    assert {"batch_size 100", "concurrency 30"} <= set(re.findall(r"\w+ \d+", note))
    assert "\nBATCH = 100\n" in (process.HERE / "pgqueuer_app.py").read_text()
    assert "\nCONCURRENCY = 30\n" in (process.HERE / "procrastinate_app.py").read_text()


async def test_job_without_metrics_consumes(bench: Modules, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    messages = bench("messages")
    for size, value in {"_MESSAGES": 500, "_FIRST": 0, "_LAST": 500, "_WINDOW_S": 30}.items():
        monkeypatch.setattr(messages, size, value)
    here = bench("running").Bench(tmp_path, 1, str)

    readings = await messages.measure(here, "", lambda url: [messages.noop_job(here, "", url, "noop_job.unmetered")])

    assert [reading.acked for reading in readings[""]] == [500]


async def test_nobody_waits_for_a_server_after_ctrl_c(bench: Modules, tmp_path: Path) -> None:
    running = bench("running")
    server = running.Script("slow", [sys.executable, "-uc", _SLOW_TO_STOP], tmp_path / "log", {})

    async def interrupted() -> None:
        async with running.started(server):
            await until(lambda: server.log.read_text() == "up\n", 60)
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await interrupted()

    assert server.exit_code == -signal.SIGKILL
    assert server.log.read_text() == "up\n"
