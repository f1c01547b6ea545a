"""One run at full size: generate, import and process N users, with times, memory and the size of the database.

    python tests/bench/full_run.py --folder DIR [--rows 50000000] [--workers 2]

DIR gets the CSV files, a PostgreSQL server and the logs: about 40 GB for 50 million rows. It stays at the end. An
interrupted run continues where it was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from stack import PostgresServer, StackError, until
from stack.servers import binary

_POLL_S = 0.5
_NEARLY_DONE = 0.95
_DEADLINE_S = 6 * 3600.0
_COUNTS = "SELECT batch_status, count(*) FROM users GROUP BY 1 ORDER BY 1"
_SIZE = "SELECT pg_database_size(current_database())"
_ENDED = "SELECT coalesce(sum(completed + given_up), 0) FROM batch_jobs"
_TRIGGER_QUERY = "EXPLAIN (ANALYZE, BUFFERS) SELECT rows FROM users_claimable"


class Peak:
    """Peak memory of processes with their children, as PSS in bytes."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes
        self.each = [0] * len(processes)

    def measure(self) -> None:
        """Measure now and keep the maximum."""
        for index, process in enumerate(self._processes):
            self.each[index] = max(self.each[index], sum(map(_pss, _family(process.pid))))


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(descendant for child in children for descendant in _family(int(child)))]


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def step(name: str, commands: Sequence[Sequence[str]], environment: dict[str, str], folder: Path) -> str:
    """Run the commands at the same time, print their time and memory, and return the output of the last."""
    began = time.monotonic()
    log = (folder / f"{name}.log").open("wb")
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log) for command in commands]
    peak = Peak(processes)
    while any(process.poll() is None for process in processes):
        peak.measure()
        time.sleep(_POLL_S)
    if any(process.returncode for process in processes):
        raise StackError(f"{name} failed; see {folder / f'{name}.log'}")
    megabytes = ", ".join(f"{peak_bytes / 1e6:.0f} MB" for peak_bytes in peak.each)
    print(f"{name:<10} {time.monotonic() - began:>8.1f} s   peak memory {megabytes}", flush=True)
    output = processes[-1].stdout
    return output.read().decode() if output else ""


async def trigger_query(dsn: str, rows: int) -> str:
    """Return the plan of the scaler's query with times, once nearly all rows are settled."""
    connection = await asyncpg.connect(dsn)

    async def is_nearly_done() -> bool:
        return bool(await connection.fetchval(_ENDED) >= rows * _NEARLY_DONE)

    await until(is_nearly_done, deadline_s=_DEADLINE_S)
    plan = await connection.fetch(_TRIGGER_QUERY)
    await connection.close()
    return "\n".join(line[0] for line in plan)


async def run(folder: Path, rows: int, workers: int) -> None:
    """Generate, import and process the rows."""
    server = PostgresServer(folder / "server")
    server.start()
    try:
        environment = {**os.environ, **server.environment(), "HTTP_PORT": "0"}
        seed, data = binary("users-batch-seed"), str(folder / "data")
        await asyncio.to_thread(step, "schema", [[seed, "schema"]], environment, folder)
        await asyncio.to_thread(
            step, "generate", [[seed, "generate", f"--rows={rows}", "--out", data]], environment, folder
        )
        print(await asyncio.to_thread(step, "import", [[seed, "import", "--out", data, "--json"]], environment, folder))
        connection = await asyncpg.connect(server.dsn)
        print(f"database   {await connection.fetchval(_SIZE) / 1e9:.2f} GB")
        plan = asyncio.create_task(trigger_query(server.dsn, rows))
        worker = [sys.executable, "-m", "users_batch"]
        began = time.monotonic()
        await asyncio.to_thread(step, "process", [worker] * workers, environment, folder)
        print(f"           {rows / (time.monotonic() - began):,.0f} rows/s")
        print(f"database   {await connection.fetchval(_SIZE) / 1e9:.2f} GB")
        print(json.dumps(dict(map(tuple, await connection.fetch(_COUNTS)))))
        hot = "SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'users'"
        print(f"HOT        {await connection.fetchval(hot):.3f} of the updates")
        print(await plan)
        await connection.close()
    finally:
        server.stop()


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="created if it does not exist")
    parser.add_argument("--rows", type=int, default=50_000_000)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(run(arguments.folder.resolve(), arguments.rows, arguments.workers))
    except StackError as error:
        print(f"full run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
