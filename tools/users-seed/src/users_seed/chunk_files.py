"""File of a chunk, written whole or not at all. Worker processes import this module, so it imports next to nothing."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import Counter
from pathlib import Path

from users_seed import records
from users_seed.data_set import Chunk, ChunkFile, DataSet

UNFINISHED = "*.part"


def start_worker() -> None:
    """Prepare a worker process: only its parent handles Ctrl-C, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # The pool's own queue would keep the process alive after the parent was killed.
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def ensure_file(data_set: DataSet, chunk: Chunk, folder: Path, before: ChunkFile | None) -> tuple[ChunkFile, bool]:
    """Write the chunk's file unless `before`, from an earlier run, is intact. Return it and whether it was kept.

    Raises `OSError`.
    """
    try:
        if before is not None and _is_intact(before, folder):
            return before, True
        return _write(data_set, chunk, folder), False
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder / chunk.file_name)) from error


def _is_intact(file: ChunkFile, folder: Path) -> bool:
    path = folder / file.file
    if not path.is_file() or path.stat().st_size != file.bytes:
        return False
    with path.open("rb") as text:
        return hashlib.file_digest(text, "sha256").hexdigest() == file.sha256


def _write(data_set: DataSet, chunk: Chunk, folder: Path) -> ChunkFile:
    part = folder / f"{chunk.file_name}.{os.getpid()}.part"
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("wb") as file:
            for block in records.blocks(data_set, chunk):
                size += file.write(block)
                digest.update(block)
        part.replace(folder / chunk.file_name)
    finally:
        part.unlink(missing_ok=True)
    invalid = Counter(damage.field for damage in records.damaged(data_set, chunk).values())
    counts = (invalid["name"], invalid["email"], size)
    return ChunkFile(chunk.number, chunk.file_name, chunk.first_id, chunk.rows, *counts, digest.hexdigest())
