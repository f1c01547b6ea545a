"""Rows per second of users-batch and its baselines: generate, import, process."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from batch_process import measure_process
from databases import Databases
from durable import postgres_server
from results import Bound, Comparison
from running import Bench, run_together, started

from keda_jobs.runtime.cpu import cores
from keda_jobs.settings import PgSettings
from stack import StackError
from users_seed.data_set import DataSet
from users_seed.generate import generate
from users_seed.load import load

_ROWS = 1_000_000
_GENERATED_ROWS = 6_000_000

_GENERATE, _PLAIN_CSV = "users-batch-seed generate", "plain CSV loop, one core"
_IMPORT, _COPY = "users-batch-seed import", r"psql \copy"
# 1.5 million rows a second on two cores, where one core writes 3.8 million lines without drawing anything.
_BOUNDS = {_PLAIN_CSV: Bound(least=0.4), _COPY: Bound(least=1)}

_GENERATE_NOTE = (
    f"{_GENERATED_ROWS:,} rows. The seed tool uses {cores()} cores, its start counts, and its rows are random with 1 % "
    "invalid ones. The plain loop repeats three short lists."
)
_IMPORT_NOTE = (
    "{rows:,} rows in {files} files into the same empty table. The seed tool ends with the key's index, the "
    r"queue's ranges and ANALYZE. \copy loads one file after the other, with index and trigger, without ANALYZE. "
    "Both take about 1.4 CPU seconds of the server for a million rows, so on two cores the ratio stays below 2."
)


async def measure(bench: Bench) -> list[Comparison]:
    """Measure the rates in rows per second. Raises `StackError`, `JobError`."""
    async with started(postgres_server(bench.folder, durable=bench.durable)) as server:
        databases = Databases(server)
        generated = await _measure_generate(bench)
        bench.say(f"batch: loading {_ROWS:,} users")
        data = bench.folder / "data"
        await asyncio.to_thread(generate, DataSet(_ROWS), data)
        files = sorted(data.glob("*.csv"))
        await databases.make_templates(files)
        return [
            generated,
            await _measure_import(bench, databases, data, files),
            await measure_process(bench, databases, _ROWS),
        ]


async def _measure_generate(bench: Bench) -> Comparison:
    """Measure how fast CSV files are written."""

    async def seed_tool() -> float:
        folder = bench.folder / "generated"
        result = await asyncio.to_thread(generate, DataSet(_GENERATED_ROWS), folder)
        shutil.rmtree(folder)
        return result.rows_per_s

    async def plain() -> float:
        file = bench.folder / "plain.csv"
        script = bench.script(_PLAIN_CSV, "plain_csv", _GENERATED_ROWS, file)
        await run_together(script)
        file.unlink()
        return _GENERATED_ROWS / script.figures()[0]

    rates = await bench.in_turns("generate", {_GENERATE: seed_tool, _PLAIN_CSV: plain})
    return Comparison("generate", "rows/s", rates, _BOUNDS, _GENERATE_NOTE)


async def _measure_import(bench: Bench, databases: Databases, data: Path, files: Sequence[Path]) -> Comparison:
    """Measure how fast the files in `data` are loaded into `users`."""

    async def seed_tool() -> float:
        async with databases.fresh("empty") as database:
            result = await load(PgSettings.model_validate({"pg_dsn": databases.dsn(database)}), data)
            await _check_import(databases, database)
            return result.rows_per_s

    async def psql() -> float:
        async with databases.fresh("empty") as database:
            began = time.perf_counter()
            await databases.psql(database, files)
            seconds = time.perf_counter() - began
            await _check_import(databases, database)
            return _ROWS / seconds

    rates = await bench.in_turns("import", {_IMPORT: seed_tool, _COPY: psql})
    note = _IMPORT_NOTE.format(rows=_ROWS, files=len(files))
    return Comparison("import", "rows/s", rates, _BOUNDS, note)


async def _check_import(databases: Databases, database: str) -> None:
    """Raise `StackError` unless all rows are in the table and claimable."""
    stored, claimable = await databases.row(
        database, "SELECT (SELECT count(*) FROM users), rows FROM keda_jobs.users_claimable"
    )
    if not stored == claimable == _ROWS:
        raise StackError(f"import: of {_ROWS:,} rows {stored:,} are in the table and {claimable:,} are claimable")
