"""Command line of the benchmarks: arguments, output, exit code."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import batch
import overhead
import pictures
import throughput
from asyncpg import PostgresError
from nats.errors import Error as NatsError
from progress import progress
from report import as_json, as_table
from results import Comparison

from keda_jobs.cli.terminal import print_out, sanitize
from keda_jobs.errors import JobError
from stack import StackError
from stack.jobs import ROOT

_FOLDER = ROOT / ".stack" / "bench"
_RESULT = ROOT / ".stack" / "bench.json"
_INTERRUPTED = 130

Benchmark = Callable[[Path, int, Callable[[str], None]], Sequence[Comparison]]
_BENCHMARKS: dict[str, Benchmark] = {
    "throughput": throughput.measure,
    "overhead": overhead.measure,
    "pictures": pictures.measure,
    "batch": batch.measure,
}


def main() -> int:
    """Return 0 when all ratios are within their bounds, 1 after one line that says which are not, 130 after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = _parse()
    names = [arguments.only] if arguments.only else list(_BENCHMARKS)
    try:
        comparisons = _run(names, arguments.rounds)
        _write(comparisons, to_stdout=arguments.json)
    except (StackError, JobError, NatsError, PostgresError, OSError) as error:
        return _print_failure(sanitize(str(error)))
    except KeyboardInterrupt:
        print("bench: interrupted, everything is stopped", file=sys.stderr)
        return _INTERRUPTED
    misses = [miss for comparison in comparisons for miss in comparison.misses]
    return _print_failure("; ".join(misses)) if misses else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the jobs and their baselines in turns.")
    parser.add_argument("--only", choices=list(_BENCHMARKS), help="run one of the benchmarks")
    parser.add_argument("--rounds", type=_rounds, default=3, metavar="N", help="turns of each contestant (3)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of rounds, 1 or more")
    return int(text)


def _run(names: list[str], rounds: int) -> list[Comparison]:
    """Run the benchmarks, each with its own servers. Their logs stay when one fails."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
    with progress() as report:
        comparisons: list[Comparison] = []
        for name in names:
            folder = _FOLDER / name
            folder.mkdir(parents=True)
            comparisons.extend(_BENCHMARKS[name](folder, rounds, report))
    shutil.rmtree(_FOLDER)
    return comparisons


def _write(comparisons: list[Comparison], *, to_stdout: bool) -> None:
    text = json.dumps(as_json(comparisons), indent=2, ensure_ascii=False)
    _RESULT.write_text(text + "\n")
    if to_stdout:
        print(text)
        return
    print_out(as_table(comparisons))
    for comparison in comparisons:
        if comparison.note:
            print(comparison.note)
    print(f"all figures: {os.path.relpath(_RESULT)}")


def _print_failure(line: str) -> int:
    print(f"bench: {line}", file=sys.stderr)
    return 1
