"""Scenario with users: seed them, let two workers validate them and show what became of them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from rich.table import Table

from demo.display import Bar, display, print_line, print_places, print_tables
from demo.resources import stopping
from keda_jobs.cli.terminal import add_row, new_table
from stack import BatchWorker, PostgresServer, StackError
from stack.jobs import isolated_environment
from stack.postgres import DATABASE
from stack.process import deferred_signals
from stack.servers import binary
from users_batch.errors import InvalidUser
from users_batch.job import JOB

_ROWS = 200_000
_WORKERS = 2
_POLL_S = 0.1
_DEADLINE_S = 120.0

# A row for each worker, then one for all of them.
_SHARES = """
SELECT coalesce(pod_name, 'all'), count(*), coalesce(sum(completed), 0), coalesce(sum(failed), 0),
  coalesce(extract(epoch FROM max(coalesce(finished_at, clock_timestamp())) - min(started_at)), 0)::float8
FROM batch_jobs WHERE batch_name = $1 GROUP BY ROLLUP (pod_name) ORDER BY pod_name NULLS LAST"""

_BY_STATUS = "SELECT batch_status, count(*) FROM users GROUP BY 1 ORDER BY 1"

# Each reason with the number of its users and the first of them.
_REASONS = """
SELECT * FROM (
  SELECT DISTINCT ON (error)
    coalesce(error, ''), count(*) OVER (PARTITION BY error) AS users, id, coalesce(name, ''), coalesce(email, '')
  FROM users WHERE batch_status = 'failed' ORDER BY error, id
) AS reasons
ORDER BY users DESC, id LIMIT 12"""


@dataclass(frozen=True, slots=True)
class Share:
    """Work of one worker, or of all, from the first claim to the last end."""

    worker: str
    batches: int
    completed: int
    failed: int
    seconds: float

    @property
    def rows(self) -> int:
        """Settled rows."""
        return self.completed + self.failed

    @property
    def speed(self) -> str:
        """Settled rows a second."""
        return f"{self.rows / max(0.001, self.seconds):,.0f}"


def run_users(folder: Path) -> list[str]:
    """Run the users through the workers and return the failures. Raises `StackError`."""
    print_line("Starting PostgreSQL")
    postgres = PostgresServer(folder)
    with stopping(postgres):
        postgres.start()
        print_line(f"Seeding {_ROWS:,} users into {postgres.dsn}")
        invalid = seed(postgres, _ROWS, folder / "users")
        print_line(f"Starting {_WORKERS} workers: python -m users_batch")
        # Nobody waits for work that Ctrl-C interrupts.
        environment = {"PG_DSN": postgres.dsn_of(DATABASE, "users_worker"), "SHUTDOWN_GRACE_S": "1"}
        names = [f"worker-{number}" for number in range(1, _WORKERS + 1)]
        workers = [BatchWorker(JOB.name, environment, folder / f"{name}.log", name) for name in names]
        with stopping(*workers):
            for worker in workers:
                worker.launch()
            by_status = asyncio.run(_follow(postgres, workers, invalid))
    print_places({"database": folder / "postgres", "users as CSV": folder / "users", "logs": folder / "*.log"})
    return failures(_ROWS, invalid, by_status)


def seed(postgres: PostgresServer, rows: int, folder: Path) -> int:
    """Fill the database from CSV files in `folder` and return how many users are invalid. Raises `StackError`."""
    command = [binary("users-batch-seed"), "all", "--rows", str(rows), "--out", str(folder)]
    environment = isolated_environment(postgres.environment())
    with ExitStack() as at_end:
        with deferred_signals():
            # In a session of its own, which is killed as a whole. Ctrl-C would end a starting Python with a traceback.
            tool = subprocess.Popen(command, env=environment, start_new_session=True)
            at_end.callback(_end, tool)
        code = tool.wait()
    if code:
        raise StackError(f"users-batch-seed exited with {code}; see its message above")
    return int(json.loads((folder / "manifest.json").read_text())["invalid"])


def _end(tool: subprocess.Popen[bytes]) -> None:
    """Kill the tool and its worker processes. What it has seeded so far goes with the database."""
    if tool.poll() is None:
        os.killpg(tool.pid, signal.SIGKILL)
        tool.wait()


async def _follow(postgres: PostgresServer, workers: Sequence[BatchWorker], invalid: int) -> dict[str, int]:
    """Show the workers' progress and results, and return the users by status. Raises `StackError`."""
    give_up = time.monotonic() + _DEADLINE_S
    connection = await asyncpg.connect(postgres.dsn, ssl=False)
    try:
        with display() as show:
            is_done = False
            while not is_done:
                # Read before the counts, so that the last counts are final.
                is_done = all(worker.is_done for worker in workers)
                for process in (postgres, *workers):
                    process.raise_if_exited()
                if time.monotonic() > give_up:
                    raise StackError(f"the workers have not ended after {_DEADLINE_S:g} s")
                *shares, total = [Share(*record) for record in await connection.fetch(_SHARES, JOB.name)]
                show(_bars(invalid, shares, total))
                await asyncio.sleep(_POLL_S)
        by_status = {record[0]: record[1] for record in await connection.fetch(_BY_STATUS)}
        print_tables(_status_table(by_status), _workers_table(shares), _reasons_table(await connection.fetch(_REASONS)))
        print_line(f"\n{total.rows:,} users in {total.seconds:.1f} s by {len(shares)} workers: {total.speed} rows/s.")
        return by_status
    finally:
        connection.terminate()


def failures(seeded: int, invalid: int, by_status: Mapping[str, int]) -> list[str]:
    """List the counts that do not add up."""
    completed, failed = by_status.get("completed", 0), by_status.get("failed", 0)
    lines = []
    if completed + failed != seeded:
        lines.append(f"{completed:,} rows completed and {failed:,} failed, but {seeded:,} were seeded")
    if failed != invalid:
        lines.append(f"{failed:,} rows failed, but {invalid:,} were seeded invalid")
    return lines


def _bars(invalid: int, shares: Sequence[Share], total: Share) -> list[Bar]:
    return [
        Bar("completed", total.completed, _ROWS - invalid, "green", f"{total.speed} rows/s"),
        Bar("failed", total.failed, invalid, "red"),
        *(Bar(share.worker, share.rows, _ROWS, "cyan", f"{share.batches} batches") for share in shares),
    ]


def _status_table(by_status: Mapping[str, int]) -> Table:
    table = new_table("status", "users", right=("users",))
    for status, users in by_status.items():
        add_row(table, status, f"{users:,}")
    return table


def _workers_table(shares: Sequence[Share]) -> Table:
    numbers = ("batches", "completed", "failed", "rows/s")
    table = new_table("worker", *numbers, right=numbers)
    for share in shares:
        add_row(table, share.worker, share.batches, f"{share.completed:,}", f"{share.failed:,}", share.speed)
    return table


def _reasons_table(reasons: Sequence[asyncpg.Record]) -> Table:
    table = new_table("why they failed", "users", "such as", "entered", right=("users", "such as"), cut=("entered",))
    for error, users, first_id, name, email in reasons:
        why = error.removeprefix(f"{InvalidUser.__name__}: ")
        add_row(table, why, f"{users:,}", first_id, repr(name if why.startswith("name") else email))
    return table
