"""Command line of the benchmarks: arguments, output, exit code."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

import batch
import inserts
import messages
import outbox
import pictures
import refused
from asyncpg import PostgresError
from nats.errors import Error as NatsError
from results import Comparison, as_json, as_table
from running import Bench

from keda_jobs.cli.terminal import console, print_err, print_out, sanitize
from keda_jobs.errors import JobError
from stack import StackError
from stack.jobs import ROOT

_FOLDER = ROOT / ".stack" / "bench"
_RESULT = ROOT / ".stack" / "bench.json"

_BENCHMARKS: dict[str, Callable[[Bench], Awaitable[Sequence[Comparison]]]] = {
    "throughput": messages.measure_throughput,
    "overhead": messages.measure_overhead,
    "pictures": pictures.measure,
    "batch": batch.measure,
    "outbox": outbox.measure,
    "inserts": inserts.measure,
    "refused": refused.measure,
}


def main() -> int:
    """Return 0 when all ratios are within their bounds, 1 after one line that says which are not, 130 after Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    arguments = _parse()
    names = arguments.only or list(_BENCHMARKS)
    try:
        comparisons = asyncio.run(_run(names, arguments.rounds, durable=arguments.durable))
    except (StackError, JobError, NatsError, PostgresError, OSError) as error:
        return _print_failure(sanitize(str(error)))
    except KeyboardInterrupt:
        print("bench: interrupted, everything is stopped", file=sys.stderr)
        return 130
    _write(comparisons)
    misses = [miss for comparison in comparisons for miss in comparison.misses]
    return _print_failure("; ".join(misses)) if misses else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench", description="Measure the jobs and their baselines in turns.")
    parser.add_argument("--only", choices=list(_BENCHMARKS), nargs="+", help="run only these benchmarks")
    parser.add_argument("--rounds", type=int, choices=range(1, 10), default=3, metavar="N", help="turns, 1 to 9 (3)")
    parser.add_argument("--durable", action="store_true", help="batch: fsync and full_page_writes on, as in production")
    return parser.parse_args()


async def _run(names: list[str], rounds: int, *, durable: bool) -> list[Comparison]:
    """Run the benchmarks, each with its own servers. Their logs stay when one fails."""
    shutil.rmtree(_FOLDER, ignore_errors=True)
    comparisons: list[Comparison] = []
    with _progress() as say:
        for name in names:
            folder = _FOLDER / name
            folder.mkdir(parents=True)
            comparisons.extend(await _BENCHMARKS[name](Bench(folder, rounds, say, durable)))
    shutil.rmtree(_FOLDER)
    return comparisons


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Show each step on stderr: in a line that changes on a terminal, in a line of its own elsewhere."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield print_err
        return
    with screen.status("") as status:
        yield status.update


def _write(comparisons: list[Comparison]) -> None:
    _RESULT.write_text(json.dumps(as_json(comparisons), indent=2, ensure_ascii=False, default=str) + "\n")
    print_out(as_table(comparisons))
    print("\n".join(comparison.note for comparison in comparisons if comparison.note))
    print(f"all figures: {os.path.relpath(_RESULT)}")


def _print_failure(line: str) -> int:
    print(f"bench: {line}", file=sys.stderr)
    return 1
