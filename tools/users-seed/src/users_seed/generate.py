"""Data set written to files with all cores. Finished files of an interrupted run are kept."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.runtime.cpu import cores
from users_seed import manifest
from users_seed.chunk_files import UNFINISHED, ensure_file, start_worker
from users_seed.data_set import ChunkFile, DataSet
from users_seed.disk import DiskSpace, file_bytes, space_in
from users_seed.manifest import Manifest

# Each takes 26 MB: the tool stays under 300 MB on every machine.
_MOST_PROCESSES = 8

# A killed run loses at most this much of its work.
_MANIFEST_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Generated:
    """Finished data set and the share of this run. `kept` rows are from earlier runs."""

    rows: int
    invalid: int
    bytes: int
    files: int
    kept: int
    seconds: float
    rows_per_s: int


def required_space(data_set: DataSet, folder: Path) -> DiskSpace:
    """Return the disk space for the rest of the data set. Raises `Misconfigured` when the folder holds another one."""
    written = sum(file.rows for file in _read_or_new(data_set, folder).files if (folder / file.file).is_file())
    missing = data_set.rows - written
    return space_in(folder, f"{missing:,} rows in files", file_bytes(missing))


def generate(
    data_set: DataSet,
    folder: Path,
    *,
    processes: int | None = None,
    watch: Callable[[int], None] = lambda rows: None,
    say: Callable[[str], None] = lambda line: None,
) -> Generated:
    """Write the missing files. `watch` gets the number of finished rows, `say` the disk space beforehand.

    Raises `Misconfigured` when the folder holds another data set, and `JobError` when the disk is too small.
    """
    space = required_space(data_set, folder)
    if space.needed:
        say(str(space))
    space.check()
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusive(folder):
        began = time.monotonic()
        earlier = _read_or_new(data_set, folder)
        written, kept = _write_all(earlier, folder, min(processes or cores(), _MOST_PROCESSES), watch)
        seconds = time.monotonic() - began
    speed = round((data_set.rows - kept) / seconds)
    return Generated(data_set.rows, written.invalid, written.bytes, len(written.files), kept, round(seconds, 3), speed)


def _read_or_new(data_set: DataSet, folder: Path) -> Manifest:
    current = manifest.read(folder)
    if current is not None and current.data_set != data_set:
        raise Misconfigured(
            f"{folder} holds another data set ({current.data_set}); use its options, choose another --out, or delete it"
        )
    return current or Manifest(data_set)


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder and delete unfinished files. Raises `JobError`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _delete_unfinished(folder)
        try:
            yield
        finally:
            _delete_unfinished(folder)
    except BlockingIOError as error:
        raise JobError(f"another run is writing to {folder}; wait for it, or choose another --out") from error
    finally:
        os.close(handle)


def _delete_unfinished(folder: Path) -> None:
    for part in folder.glob(UNFINISHED):
        part.unlink(missing_ok=True)


def _write_all(earlier: Manifest, folder: Path, processes: int, watch: Callable[[int], None]) -> tuple[Manifest, int]:
    """Return the manifest with all files and the number of rows from earlier runs. Raises `JobError`."""
    # A file of an earlier run stays in the manifest until it is checked.
    files = {file.number: file for file in earlier.files}
    done, kept, write_at = 0, 0, 0.0
    watch(done)
    try:
        with closing(_ensure_files(earlier, folder, processes)) as ensured:
            for file, is_kept in ensured:
                files[file.number] = file
                done += file.rows
                kept += file.rows if is_kept else 0
                watch(done)
                if time.monotonic() >= write_at:
                    earlier.with_files(files.values()).write(folder)
                    write_at = time.monotonic() + _MANIFEST_EVERY_S
    finally:
        earlier.with_files(files.values()).write(folder)
    return earlier.with_files(files.values()), kept


def _ensure_files(earlier: Manifest, folder: Path, processes: int) -> Generator[tuple[ChunkFile, bool], None, None]:
    before = {file.number: file for file in earlier.files}
    chunks = earlier.data_set.chunks()
    # Spawned, not forked: a fork would copy whatever threads and connections the caller has.
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(processes, len(chunks)), spawn, start_worker)
    try:
        for future in as_completed(
            pool.submit(ensure_file, earlier.data_set, chunk, folder, before.get(chunk.number)) for chunk in chunks
        ):
            yield future.result()
    except BrokenProcessPool as error:
        raise JobError("a process that wrote files was killed; run the same command again to continue") from error
    except OSError as error:
        raise JobError(f"{error.filename}: {error.strerror}; the same command continues where it stopped") from error
    finally:
        pool.shutdown(cancel_futures=True)
