"""The command: its arguments, its course, its exit code."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from demo.ending import exit_code_of, running
from demo.folder import claimed
from demo.lines import say, say_places
from demo_batch.follow import follow
from demo_batch.seed import Seeded, seed
from demo_batch.show import failures_table, status_table, summary, workers_table
from demo_batch.tally import Report
from demo_batch.workers import Workers
from keda_jobs.cli.terminal import print_out
from stack import PostgresServer
from stack.jobs import ROOT

_FOLDER = ROOT / ".stack" / "demo-batch"
_ROWS = 200_000
_WORKERS = 2
_DEADLINE_S = 120.0


def main() -> int:
    """The exit code: 0 when the counts add up, 1 after one line that says which do not."""
    return exit_code_of(_demo)


def _demo() -> list[str]:
    folder = _parse().folder.resolve()
    with claimed(folder):
        say("Starting PostgreSQL")
        with running(PostgresServer(folder)) as postgres:
            say(f"Seeding {_ROWS:,} users into {postgres.dsn}")
            seeded = seed(postgres, _ROWS, folder / "users")
            say(f"Starting {_WORKERS} workers: python -m users_batch")
            with running(Workers(postgres, _WORKERS, folder)) as workers:
                report = asyncio.run(follow(postgres, workers, seeded, _DEADLINE_S))
    _show(report, folder)
    return shortfalls(report, seeded)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo_batch", description=f"{_ROWS:,} users through {_WORKERS} workers.")
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="emptied at start; database, files and logs")
    return parser.parse_args()


def _show(report: Report, folder: Path) -> None:
    for table in (status_table(report), workers_table(report), failures_table(report)):
        say()
        print_out(table)
    say(f"\n{summary(report)}")
    say_places({"database": folder / "postgres", "users as CSV": folder / "users", "logs": folder / "*.log"})


def shortfalls(report: Report, seeded: Seeded) -> list[str]:
    """What does not add up, in the words for the last line."""
    completed, failed = (report.by_status.get(status, 0) for status in ("completed", "failed"))
    missing = []
    if completed + failed != seeded.rows:
        missing.append(f"{completed:,} rows completed and {failed:,} failed, but {seeded.rows:,} were seeded")
    if failed != seeded.invalid:
        missing.append(f"{failed:,} rows failed, but {seeded.invalid:,} were seeded invalid")
    return missing
