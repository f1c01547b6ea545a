"""File of a chunk, written whole or not at all. This runs in separate processes, so it imports next to nothing."""

from __future__ import annotations

import hashlib
import os
import signal
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from users_seed import records
from users_seed.data_set import Chunk, ChunkFile, DataSet

UNFINISHED = "*.part"


class Task(NamedTuple):
    """Chunk to write, and its file as an earlier run left it."""

    chunk: Chunk
    before: ChunkFile | None


class Made(NamedTuple):
    """File of a chunk. `is_kept` is true for a file of an earlier run."""

    file: ChunkFile
    is_kept: bool


def serve(connection: Connection, data_set: DataSet, folder: Path) -> None:
    """Do each task that arrives and answer with `Made` or an `OSError`."""
    # Ctrl-C reaches every process of the terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that was killed has closed its end.
    with suppress(EOFError, ConnectionError):
        while True:
            task: Task = connection.recv()
            connection.send(_done(task, data_set, folder))


def _done(task: Task, data_set: DataSet, folder: Path) -> Made | OSError:
    try:
        if task.before is not None and is_whole(task.before, folder):
            return Made(task.before, is_kept=True)
        return Made(make(data_set, task.chunk, folder), is_kept=False)
    except OSError as error:
        return OSError(error.errno, error.strerror, str(folder / task.chunk.file_name))


def is_whole(file: ChunkFile, folder: Path) -> bool:
    """Return whether the file exists with its original bytes."""
    path = folder / file.file
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as text:
        return hashlib.file_digest(text, "sha256").hexdigest() == file.sha256


def make(data_set: DataSet, chunk: Chunk, folder: Path) -> ChunkFile:
    """Write the chunk's file. Raises `OSError`."""
    part = folder / f"{chunk.file_name}.{os.getpid()}.part"
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("wb") as file:
            for block in records.blocks(data_set, chunk):
                size += file.write(block)
                digest.update(block)
        part.replace(folder / chunk.file_name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    invalid = Counter(damage.field for damage in records.damaged(data_set, chunk).values())
    return ChunkFile(
        number=chunk.number,
        file=chunk.file_name,
        first_id=chunk.first_id,
        rows=chunk.rows,
        invalid_names=invalid["name"],
        invalid_emails=invalid["email"],
        bytes=size,
        sha256=digest.hexdigest(),
    )
