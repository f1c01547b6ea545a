"""The demo's folder: empty at each start, and one demo in it at a time."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import StackError

_LOCK = "demo.lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold `folder`, emptied, for as long as the block runs.

    Raises `StackError` when another demo holds it, or when it is not empty and no demo made it.
    """
    lock_file = folder / _LOCK
    if folder.exists() and not lock_file.exists() and any(folder.iterdir()):
        raise StackError(f"{folder} was not made by the demo, and would be emptied; move it away or choose another")
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"a demo is running in {folder} already; wait for its end") from None
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        yield
