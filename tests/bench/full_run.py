"""One run at full size: generate, import and process N users, with all figures of docs/queue-size.md.

    PYTHONPATH=tools python tests/bench/full_run.py --folder DIR [--rows 50000000] [--durable]

DIR gets the CSV files, a PostgreSQL server and the logs: about 40 GB for 50 million rows. It stays at the end. An
interrupted run continues where it was.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import asyncpg
import processes
from durable import postgres_server
from large_run import main
from queue_size import QueueSize
from running import Script, run_together, started

from stack import until
from stack.postgres_programs import program as postgres_program
from stack.servers import binary
from users_batch.job import JOB

_WORKERS = 2
_POLL_S = 0.5
_NEARLY_DONE = 0.95
_DEADLINE_S = 6 * 3600.0
_COUNTS = "SELECT batch_status, count(*) FROM users GROUP BY 1 ORDER BY 1"
_SIZE = "SELECT pg_database_size(current_database())"
_HOT = "SELECT n_tup_hot_upd::float / n_tup_upd FROM pg_stat_user_tables WHERE relname = 'users'"
_SETTLED = "SELECT coalesce(sum(completed + given_up), 0) >= $1::bigint FROM batch_jobs"
_TRIGGER_QUERY = "EXPLAIN (ANALYZE, BUFFERS) SELECT rows FROM keda_jobs.users_claimable"


async def step(name: str, *scripts: Script) -> None:
    """Run the programs at the same time, and print their time and memory."""
    began = time.monotonic()
    measured = asyncio.create_task(peak_memory(*scripts))
    await run_together(*scripts, deadline_s=_DEADLINE_S)
    megabytes = ", ".join(f"{peak / 1e6:.0f} MB" for peak in await measured)
    print(f"{name:<10} {time.monotonic() - began:>8.1f} s   peak memory {megabytes}", flush=True)


async def peak_memory(*scripts: Script) -> list[int]:
    """Return the peak memory of each program in bytes, once all have ended."""
    peaks = [0] * len(scripts)
    while any(script.alive for script in scripts):
        peaks = [max(peak, processes.memory(script.pid)) for peak, script in zip(peaks, scripts, strict=True)]
        await asyncio.sleep(_POLL_S)
    return peaks


async def trigger_query(dsn: str, rows: int) -> str:
    """Return the plan of the scaler's query with times, once nearly all rows are settled."""
    connection = await asyncpg.connect(dsn)
    await until(lambda: connection.fetchval(_SETTLED, int(rows * _NEARLY_DONE)), _DEADLINE_S)
    plan = await connection.fetch(_TRIGGER_QUERY)
    await connection.close()
    return "\n".join(line[0] for line in plan)


async def run(folder: Path, rows: int, *, durable: bool) -> None:
    """Generate, import and process the rows."""
    async with started(postgres_server(folder / "server", durable=durable)) as server:
        environment = {**server.environment(), "HTTP_PORT": "0"}
        data = f"--out={folder / 'data'}"

        def program(name: str, *command: str) -> Script:
            return Script(name, list(command), folder / f"{name}.log", environment)

        seed = binary("users-batch-seed")
        await step("schema", program("schema", seed, "schema"))
        await step("generate", program("generate", seed, "generate", f"--rows={rows}", data))
        imported = program("import", seed, "import", data, "--json")
        await step("import", imported)
        print(imported.log.read_text())
        connection = await asyncpg.connect(server.dsn)
        size = QueueSize(connection, server.dsn, JOB.table)
        print(f"database   {await connection.fetchval(_SIZE) / 1e9:.2f} GB")
        await size.print_sizes()
        await size.print_calls()
        await step("check", program("check", binary("keda-jobs"), "batch", "check"))
        pg_dump = str(postgres_program("pg_dump"))
        await step("dump", program("dump", pg_dump, "-Fc", "-Z0", "--no-sync", f"--file={os.devnull}", server.dsn))
        used = await size.used()
        rows = await connection.fetchval("SELECT count(*) FROM users")
        plan = asyncio.create_task(trigger_query(server.dsn, rows))
        began = time.monotonic()
        await step("process", *(program(f"process-{n}", sys.executable, "-m", "users_batch") for n in range(_WORKERS)))
        print(f"           {rows / (time.monotonic() - began):,.0f} rows/s")
        wal, transactions = (after - before for after, before in zip(await size.used(), used, strict=True))
        print(
            f"           {wal / rows:.0f} bytes of WAL a row, {1e6 * transactions / rows:,.0f} transactions a million"
        )
        print(f"database   {await connection.fetchval(_SIZE) / 1e9:.2f} GB")
        print(json.dumps(dict(map(tuple, await connection.fetch(_COUNTS)))))
        print(f"HOT        {await connection.fetchval(_HOT):.3f} of the updates")
        print(await plan)
        await size.print_sizes()
        await size.print_upkeep()
        await connection.close()


if __name__ == "__main__":
    sys.exit(main("full run", __doc__, 50_000_000, run))
