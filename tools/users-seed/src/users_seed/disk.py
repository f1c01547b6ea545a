"""Disk space for files and database, checked before it is used."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from asyncpg import exceptions as pg
from rich.filesize import decimal

from keda_jobs.errors import JobError
from keda_jobs.postgres import open_connection
from keda_jobs.settings import PgSettings

# Measured, and held against real files and tables by a test. In a file the id comes on top; a page of the table holds
# few rows, since each may be updated in it (fillfactor), and the key takes a fifteenth.
_FILE_ROW_BYTES = 45
_TABLE_ROW_BYTES = 340

# Only a server on this machine, and not in a container, has its disk in sight.
_FOLDER = """
SELECT current_setting('data_directory')
WHERE inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1'"""


@dataclass(frozen=True, slots=True)
class Room:
    """Disk space that `what` needs and that `folder` has. Without a folder the disk is unknown."""

    what: str
    needed: int
    folder: Path | None = None
    free: int = 0
    device: int = 0

    def __str__(self) -> str:
        need = f"{self.what}: about {decimal(self.needed)} of disk"
        return f"{need}, {decimal(self.free)} are free in {self.folder}" if self.folder else need

    def check(self) -> None:
        """Check that there is enough. Raises `JobError`."""
        if self.folder and self.needed > self.free:
            raise JobError(f"the disk is too small for {self}; make room or take less --rows")

    def with_(self, other: Room) -> Room:
        """Add `other` when both are on one disk."""
        if not (self.folder and other.folder) or self.device != other.device:
            return self
        return Room(f"{self.what} and {other.what}", self.needed + other.needed, self.folder, self.free, self.device)


def file_bytes(rows: int) -> int:
    """Estimate the size of so many rows in files."""
    return rows * (_FILE_ROW_BYTES + len(str(rows)))


def room_in(folder: Path, what: str, needed: int) -> Room:
    """Return the room on the disk of `folder`, which may not exist yet."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return Room(what, needed, folder, shutil.disk_usage(there).free, there.stat().st_dev)


async def room_in_database(settings: PgSettings, rows: int) -> Room:
    """Return the room for so many rows of `users`. Raises `DatabaseUnavailable`, `Misconfigured`."""
    what, needed = f"{rows:,} rows in the database", rows * _TABLE_ROW_BYTES
    try:
        async with open_connection(settings, name="users-batch-seed") as connection:
            folder = await connection.fetchval(_FOLDER)
        return room_in(Path(folder), what, needed) if folder else Room(what, needed)
    except (pg.InsufficientPrivilegeError, OSError):
        return Room(what, needed)
