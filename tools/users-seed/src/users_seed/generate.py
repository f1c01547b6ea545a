"""Write a data set to files with all cores, and keep the finished files of an interrupted run."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from keda_jobs.errors import JobError, Misconfigured
from keda_jobs.runtime.cpu import cores
from users_seed import manifest
from users_seed.chunk_files import UNFINISHED, Task
from users_seed.data_set import DataSet
from users_seed.disk import Room, file_bytes, room_in
from users_seed.manifest import Manifest
from users_seed.parallel import by_processes

# Each takes 26 MB: the tool stays under 300 MB on every machine.
_MOST_PROCESSES = 8

# A killed run loses so much of what it had made.
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


def room(data_set: DataSet, folder: Path) -> Room:
    """Return the disk space for the rest of the data set. Raises `Misconfigured` when the folder holds another one."""
    there = sum(file.rows for file in _begun(data_set, folder).files if (folder / file.file).is_file())
    missing = data_set.rows - there
    return room_in(folder, f"{missing:,} rows in files", file_bytes(missing))


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
    needs = room(data_set, folder)
    if needs.needed:
        say(str(needs))
    needs.check()
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        began = time.monotonic()
        made, kept = _make_all(_begun(data_set, folder), folder, min(processes or cores(), _MOST_PROCESSES), watch)
        seconds = time.monotonic() - began
    speed = round((data_set.rows - kept) / seconds)
    return Generated(data_set.rows, made.invalid, made.bytes, len(made.files), kept, round(seconds, 3), speed)


def _begun(data_set: DataSet, folder: Path) -> Manifest:
    found = manifest.read(folder)
    if found is not None and found.data_set != data_set:
        raise Misconfigured(
            f"{folder} holds another data set ({found.data_set}); take the same options, another --out, or delete it"
        )
    return found or Manifest(data_set)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs out of the folder and delete unfinished files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise JobError(f"another run writes into {folder}; wait for it, or take another --out") from error
    try:
        _delete_unfinished(folder)
        yield
    finally:
        _delete_unfinished(folder)
        os.close(handle)


def _delete_unfinished(folder: Path) -> None:
    for part in folder.glob(UNFINISHED):
        part.unlink(missing_ok=True)


def _make_all(begun: Manifest, folder: Path, processes: int, watch: Callable[[int], None]) -> tuple[Manifest, int]:
    """Return the manifest with all files and the number of rows from earlier runs."""
    # A file known before stays known until it is looked at.
    files = {file.number: file for file in begun.files}
    tasks = [Task(chunk, files.get(chunk.number)) for chunk in begun.data_set.chunks()]
    done, kept, write_at = 0, 0, 0.0
    watch(done)
    try:
        with closing(by_processes(tasks, begun.data_set, folder, processes)) as answers:
            for file, is_kept in answers:
                files[file.number] = file
                done += file.rows
                kept += file.rows if is_kept else 0
                watch(done)
                if time.monotonic() >= write_at:
                    begun.having(files.values()).write(folder)
                    write_at = time.monotonic() + _MANIFEST_EVERY_S
    finally:
        begun.having(files.values()).write(folder)
    return begun.having(files.values()), kept
