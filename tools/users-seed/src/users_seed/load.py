"""Load a data set into `users` over several connections, each chunk once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asyncpg import exceptions as pg

from keda_jobs.errors import JobError
from keda_jobs.postgres import Connection
from keda_jobs.runtime.cpu import cores
from keda_jobs.settings import PgSettings
from users_seed import manifest, tables
from users_seed.data_set import COLUMNS, ChunkFile, DataSet
from users_seed.disk import DiskSpace, space_in_database
from users_seed.tables import ImportState

# More connections than this only wait for one another.
_MOST_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Loaded:
    """Imported data set and the share of this run. `before` rows are from earlier runs."""

    rows: int
    invalid: int
    before: int
    claimable: int
    seconds: float
    rows_per_s: int


async def check(settings: PgSettings, data_set: DataSet, files: DiskSpace) -> None:
    """Raise what `load` would, and `JobError` when the disk is too small for database and `files`."""
    async with tables.connect_exclusively(settings) as connection:
        state = await tables.read_state(connection, data_set)
    files.add(await space_in_database(settings, data_set.rows - state.rows)).check()


async def load(
    settings: PgSettings,
    folder: Path,
    *,
    watch: Callable[[int], None] = lambda rows: None,
    say: Callable[[str], None] = lambda line: None,
) -> Loaded:
    """Import the data set in `folder`. `watch` gets the number of loaded rows, `say` the disk space and the steps.

    An interrupted run continues where it stopped. Raises `Misconfigured` when `users` holds anything else, `JobError`
    for a damaged file, `DatabaseUnavailable`.
    """
    source = manifest.complete(folder)
    rows = source.data_set.rows
    began = time.monotonic()
    async with tables.connect_exclusively(settings) as connection:
        state = await tables.read_state(connection, source.data_set)
        space = await space_in_database(settings, rows - state.rows)
        if space.needed:
            say(str(space))
        space.check()
        if not state.is_finished:
            await tables.begin(connection, source.data_set)
            await _load_all(settings, folder, source.files, state, watch)
            say("all rows are loaded; building the index, the statistics and the queue")
            await tables.finish(connection, source.data_set)
        async with tables.owner_transaction(connection):
            claimable = await connection.fetchval("SELECT rows FROM keda_jobs.users_claimable")
    seconds = time.monotonic() - began
    return Loaded(rows, source.invalid, state.rows, claimable, round(seconds, 3), round((rows - state.rows) / seconds))


async def _load_all(
    settings: PgSettings, folder: Path, files: Sequence[ChunkFile], state: ImportState, watch: Callable[[int], None]
) -> None:
    missing = [file for file in files if file.number not in state.chunks]
    waiting, done = iter(missing), state.rows
    watch(done)

    async def work() -> None:
        nonlocal done
        async with tables.connect(settings) as connection:
            for file in waiting:
                await _load_chunk(connection, folder, file)
                done += file.rows
                watch(done)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(len(missing), max(2, cores()), _MOST_CONNECTIONS)):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _load_chunk(connection: Connection, folder: Path, file: ChunkFile) -> None:
    advice = "run `generate` again with the same options, then `import`"
    try:
        async with tables.owner_transaction(connection):
            if not await tables.record_chunk(connection, file):
                return
            # Not `source=path`: asyncpg opens that in a thread and leaks the file when it is cancelled meanwhile.
            with (folder / file.file).open("rb") as csv:
                status = await connection.copy_to_table("users", source=csv, columns=COLUMNS, format="csv", header=True)
            if status != f"COPY {file.rows}":
                raise JobError(f"{file.file} has {status.removeprefix('COPY ')} rows instead of {file.rows}; {advice}")
    except (pg.DataError, pg.IntegrityConstraintViolationError) as error:
        raise JobError(f"{file.file} is damaged ({error}); {advice}") from error
