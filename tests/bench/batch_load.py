"""Rows per second of the seed tool and of the plainest way to write and to load files."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from batch_databases import Databases
from bounds import TO_PLAIN_CSV, TO_PSQL_COPY
from results import Baseline, Comparison
from scripts import HERE, Script, run_together
from turns import in_turn

from keda_jobs.runtime.cpu import cores
from keda_jobs.settings import PgSettings
from stack import StackError
from users_seed.data_set import DataSet
from users_seed.generate import generate
from users_seed.load import load

_GENERATED = 6_000_000
_DEADLINE_S = 120.0

_GENERATE, _PLAIN_CSV = "users-batch-seed generate", "plain CSV loop, one core"
_IMPORT, _COPY = "users-batch-seed import", r"psql \copy"


async def measure_generate(folder: Path, rounds: int, say: Callable[[str], None]) -> Comparison:
    """Measure how fast CSV files are written. Raises `StackError`, `JobError`."""
    generated = folder / "generated"

    async def seed_tool() -> float:
        result = await asyncio.to_thread(generate, DataSet(_GENERATED), generated)
        shutil.rmtree(generated)
        return result.rows_per_s

    async def plain() -> float:
        file = folder / "plain.csv"
        arguments = [str(HERE / "plain_csv.py"), str(_GENERATED), str(file)]
        script = Script(_PLAIN_CSV, arguments, folder / "plain-csv.log")
        await run_together([script], _DEADLINE_S)
        file.unlink()
        return _GENERATED / float(script.last_line())

    series = await in_turn("generate", {_GENERATE: seed_tool, _PLAIN_CSV: plain}, rounds, say)
    note = (
        f"{_GENERATED:,} rows. The seed tool uses {cores()} cores, its start counts, and its rows are random with 1 % "
        "invalid ones. The plain loop repeats three short lists."
    )
    return Comparison("generate", "rows/s", series[_GENERATE], [Baseline(series[_PLAIN_CSV], TO_PLAIN_CSV)], note=note)


async def measure_import(
    databases: Databases, data: Path, rows: int, rounds: int, say: Callable[[str], None]
) -> Comparison:
    """Measure how fast the files in `data` are loaded into `users`. Raises `StackError`, `JobError`."""
    files = csv_files(data)

    async def seed_tool() -> float:
        async with databases.fresh("empty") as database:
            result = await load(PgSettings.model_validate({"pg_dsn": databases.dsn(database)}), data)
            await _check(databases, database, rows)
            return result.rows_per_s

    async def psql() -> float:
        async with databases.fresh("empty") as database:
            began = time.perf_counter()
            await databases.psql(database, files)
            seconds = time.perf_counter() - began
            await _check(databases, database, rows)
            return rows / seconds

    series = await in_turn("import", {_IMPORT: seed_tool, _COPY: psql}, rounds, say)
    note = (
        f"{rows:,} rows in {len(files)} files into the same empty table. The seed tool ends with the key's index, the "
        r"queue's ranges and ANALYZE. \copy loads one file after the other, with index and trigger, without ANALYZE."
    )
    return Comparison("import", "rows/s", series[_IMPORT], [Baseline(series[_COPY], TO_PSQL_COPY)], note=note)


def csv_files(folder: Path) -> Sequence[Path]:
    """Return the files of a data set in order."""
    return sorted(folder.glob("*.csv"))


async def _check(databases: Databases, database: str, rows: int) -> None:
    """Check that all rows are in the table and claimable. Raises `StackError`."""
    stored, claimable = await databases.row(database, "SELECT (SELECT count(*) FROM users), rows FROM users_claimable")
    if not stored == claimable == rows:
        raise StackError(f"import: of {rows:,} rows {stored:,} are in the table and {claimable:,} are claimable")
