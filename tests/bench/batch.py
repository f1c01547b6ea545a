"""Rows per second of users-batch and its baselines: generate, import, process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from batch_databases import Databases, make_templates
from batch_drivers import measure_drivers
from batch_load import csv_files, measure_generate, measure_import
from batch_process import measure_process
from results import Comparison

from stack import PostgresServer
from users_seed.data_set import DataSet
from users_seed.generate import generate

_ROWS = 1_000_000


def measure(folder: Path, rounds: int, say: Callable[[str], None]) -> list[Comparison]:
    """Measure the rates in rows per second. Raises `StackError`, `JobError`."""
    server = PostgresServer(folder)
    server.start()
    try:
        return asyncio.run(_measure(Databases(server), folder, rounds, say))
    finally:
        server.stop()


async def _measure(databases: Databases, folder: Path, rounds: int, say: Callable[[str], None]) -> list[Comparison]:
    generated = await measure_generate(folder, rounds, say)
    say(f"batch: loading {_ROWS:,} users")
    data = folder / "data"
    await asyncio.to_thread(generate, DataSet(_ROWS), data)
    await make_templates(databases, csv_files(data))
    return [
        generated,
        await measure_import(databases, data, _ROWS, rounds, say),
        await measure_process(databases, folder, _ROWS, rounds, say),
        *await measure_drivers(databases, folder, rounds, say),
    ]
