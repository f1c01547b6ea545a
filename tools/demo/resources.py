"""Resources of a scenario while it runs: its folder and its processes."""

from __future__ import annotations

import fcntl
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stack import EventStack, Process, StackError

_LOCK = "demo.lock"


@contextmanager
def claim(folder: Path) -> Iterator[Path]:
    """Empty `folder` and hold it while the block runs.

    Raises `StackError` when another run holds it, or when it is not empty and no demo made it.
    """
    lock_file = folder / _LOCK
    if folder.exists() and not lock_file.exists() and any(folder.iterdir()):
        raise StackError(f"{folder} was not made by the demo and would be emptied; move it away or choose another")
    folder.mkdir(parents=True, exist_ok=True)
    with lock_file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(f"a demo is already running in {folder}; wait until it ends") from None
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != _LOCK:
                path.unlink()
        yield folder


@contextmanager
def stopping(*processes: EventStack | Process) -> Iterator[None]:
    """Stop `processes` at the end of the block."""
    try:
        yield
    finally:
        # A second Ctrl-C must not interrupt the stopping, which takes a second or two.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        for process in processes:
            process.stop()
        signal.signal(signal.SIGINT, before)
