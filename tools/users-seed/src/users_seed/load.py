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
from users_seed.disk import Room, room_in_database
from users_seed.tables import Known

# More connections than that wait for one another.
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


def data_set_in(folder: Path) -> DataSet:
    """Return the data set of a folder. Raises `Misconfigured` when it is incomplete."""
    return manifest.complete(folder).data_set


async def check(settings: PgSettings, data_set: DataSet, files: Room) -> None:
    """Raise what `load` would, and `JobError` when the disk is too small for database and `files`."""
    async with tables.alone(settings) as connection:
        known = await tables.state(connection, data_set)
    files.with_(await room_in_database(settings, data_set.rows - known.rows)).check()


async def load(
    settings: PgSettings,
    folder: Path,
    *,
    watch: Callable[[int], None] = lambda rows: None,
    say: Callable[[str], None] = lambda line: None,
) -> Loaded:
    """Import the data set in `folder`. `watch` gets the number of loaded rows, `say` the disk space and the steps.

    An interrupted run continues where it was. Raises `Misconfigured` when `users` holds
    anything else, `JobError` for a damaged file, `DatabaseUnavailable`.
    """
    found = manifest.complete(folder)
    rows = found.data_set.rows
    began = time.monotonic()
    async with tables.alone(settings) as connection:
        known = await tables.state(connection, found.data_set)
        needs = await room_in_database(settings, rows - known.rows)
        if needs.needed:
            say(str(needs))
        needs.check()
        if not known.is_finished:
            await tables.begin(connection, found.data_set)
            await _load_all(settings, folder, found.files, known, watch)
            say("all rows are in; now the index, the statistics and the queue")
            await tables.finish(connection, found.data_set)
        claimable = await connection.fetchval("SELECT rows FROM users_claimable")
    seconds = time.monotonic() - began
    return Loaded(rows, found.invalid, known.rows, claimable, round(seconds, 3), round((rows - known.rows) / seconds))


async def _load_all(
    settings: PgSettings, folder: Path, files: Sequence[ChunkFile], known: Known, watch: Callable[[int], None]
) -> None:
    missing = [file for file in files if file.number not in known.chunks]
    waiting, done = iter(missing), known.rows
    watch(done)

    async def work() -> None:
        nonlocal done
        async with tables.opened(settings) as connection:
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
    again = "run `generate` with the options of the first time, then `import` again"
    try:
        async with connection.transaction():
            if not await tables.note_chunk(connection, file):
                return
            # Not `source=path`: asyncpg opens it in a thread, and forgets the file when it is cancelled meanwhile.
            with (folder / file.file).open("rb") as rows:
                status = await connection.copy_to_table(
                    "users", source=rows, columns=COLUMNS, format="csv", header=True
                )
            if status != f"COPY {file.rows}":
                raise JobError(f"{file.file} has not {file.rows} rows but {status.removeprefix('COPY ')}; {again}")
    except (pg.DataError, pg.IntegrityConstraintViolationError) as error:
        raise JobError(f"{file.file} is damaged ({error}); {again}") from error
