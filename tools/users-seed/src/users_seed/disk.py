"""Disk space for files and database, checked before it is used."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from asyncpg import exceptions as pg
from rich.filesize import decimal

from keda_jobs.errors import JobError
from keda_jobs.postgres import open_connection
from keda_jobs.settings import PgSettings

# Measured, and compared with real files and tables by a test. In a file the id adds its own length. A page of the table
# holds few rows, because of its fillfactor, and the key takes a fifteenth.
_FILE_ROW_BYTES = 45
_TABLE_ROW_BYTES = 340

# Only the disk of a server on this machine, outside of a container, can be measured.
_FOLDER = """
SELECT current_setting('data_directory')
WHERE inet_server_addr() IS NULL OR inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1'"""


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Disk space that `purpose` needs and that `folder` has. Without a folder the disk is unknown."""

    purpose: str
    needed: int
    folder: Path | None = None
    free: int = 0
    device: int = 0

    def __str__(self) -> str:
        need = f"{self.purpose}: about {decimal(self.needed)} of disk"
        return f"{need}, {decimal(self.free)} are free in {self.folder}" if self.folder else need

    def check(self) -> None:
        """Check that there is enough. Raises `JobError`."""
        if self.folder and self.needed > self.free:
            raise JobError(f"the disk is too small for {self}; free some space or use fewer --rows")

    def add(self, other: DiskSpace) -> DiskSpace:
        """Add `other` when both are on one disk."""
        if not (self.folder and other.folder) or self.device != other.device:
            return self
        return replace(self, purpose=f"{self.purpose} and {other.purpose}", needed=self.needed + other.needed)


def file_bytes(rows: int) -> int:
    """Estimate the size of `rows` in files."""
    return rows * (_FILE_ROW_BYTES + len(str(rows)))


def space_in(folder: Path, purpose: str, needed: int) -> DiskSpace:
    """Return the space on the disk of `folder`, which may not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    return DiskSpace(purpose, needed, folder, shutil.disk_usage(existing).free, existing.stat().st_dev)


async def space_in_database(settings: PgSettings, rows: int) -> DiskSpace:
    """Return the space for `rows` of `users`. Raises `DatabaseUnavailable`, `Misconfigured`."""
    purpose, needed = f"{rows:,} rows in the database", rows * _TABLE_ROW_BYTES
    try:
        async with open_connection(settings, name="users-batch-seed") as connection:
            folder = await connection.fetchval(_FOLDER)
        return space_in(Path(folder), purpose, needed) if folder else DiskSpace(purpose, needed)
    except (pg.InsufficientPrivilegeError, OSError):
        return DiskSpace(purpose, needed)
