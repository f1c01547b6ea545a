"""Places where backups are kept: a folder, or a bucket with the settings `R2_*`."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from keda_jobs.errors import Misconfigured, StoreUnavailable
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings, load_settings
from keda_jobs.storage import ObjectMissing, S3Bucket

_BUCKET = re.compile(r"s3(?::(?P<folder>[0-9A-Za-z][0-9A-Za-z._-]*))?")
_USUAL_FOLDER = "backups"
_TYPE = "application/octet-stream"
UNFINISHED = ".unfinished"
"""End of the name of a file that was cut off."""

T = TypeVar("T")


class FileMissing(StoreUnavailable):
    """A file of a backup is missing."""


class Place(Protocol):
    """Files by name. A name may have slashes. Each method may raise `StoreUnavailable` or `Transient`."""

    async def put(self, name: str, data: bytes | bytearray) -> None:
        """Store a file. One that was cut off is never seen under its name."""

    async def get(self, name: str) -> bytes:
        """Return the content of a file. Raises `FileMissing`."""

    async def names(self) -> list[str]:
        """Return the names of all files."""

    async def delete(self, name: str) -> None:
        """Delete a file, if it exists."""


class Folder:
    """Place in the file system."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def put(self, name: str, data: bytes | bytearray) -> None:
        """Store a file, as `Place.put`."""
        await self._in_thread(lambda: _write(self._path / name, data))

    async def get(self, name: str) -> bytes:
        """Return the content of a file, as `Place.get`."""
        return await self._in_thread((self._path / name).read_bytes)

    async def names(self) -> list[str]:
        """Return the names of all files, also of those that were cut off."""
        return await self._in_thread(
            lambda: [path.relative_to(self._path).as_posix() for path in self._path.rglob("*") if path.is_file()]
        )

    async def delete(self, name: str) -> None:
        """Delete a file, and its folder with the last one."""
        await self._in_thread(lambda: _delete(self._path / name))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.to_thread(work)
        except FileNotFoundError as error:
            raise FileMissing(f"there is no file {error.filename}") from error
        except OSError as error:
            raise StoreUnavailable(f"{error.filename or self._path}: {error.strerror}") from error


def _write(path: Path, data: bytes | bytearray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + UNFINISHED)
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Write the folder's list of names to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    if not any(path.parent.iterdir()):
        path.parent.rmdir()


class BucketFolder:
    """Place in a bucket: the keys that begin with `folder`/."""

    def __init__(self, bucket: S3Bucket, folder: str) -> None:
        self._bucket = bucket
        self._prefix = f"{folder}/"

    async def put(self, name: str, data: bytes | bytearray) -> None:
        """Store an object. A store shows none that was cut off."""
        await self._bucket.put(self._prefix + name, data, content_type=_TYPE)

    async def get(self, name: str) -> bytes:
        """Return the content of an object, as `Place.get`."""
        try:
            return await self._bucket.get(self._prefix + name)
        except ObjectMissing as error:
            raise FileMissing(str(error)) from error

    async def names(self) -> list[str]:
        """Return the names of all objects."""
        return [key.removeprefix(self._prefix) for key in await self._bucket.keys(self._prefix)]

    async def delete(self, name: str) -> None:
        """Delete an object, if it exists."""
        await self._bucket.delete(self._prefix + name)


@asynccontextmanager
async def open_place(text: str) -> AsyncIterator[Place]:
    """Open the place: `s3` is the folder backups/ of the bucket, `s3:NAME` another one, all else is a path.

    Raises `Misconfigured`.
    """
    if text and not text.startswith("s3:") and text != "s3":
        yield Folder(Path(text))
        return
    match = _BUCKET.fullmatch(text)
    if match is None:
        raise Misconfigured(f"{text!r} is no place: write s3, s3:NAME with a name such as backups-prod, or a path")
    metrics = StoreMetrics(JobRegistry("keda-jobs-cli"))
    async with S3Bucket(load_settings(StoreSettings), 1, metrics) as bucket:
        yield BucketFolder(bucket, match["folder"] or _USUAL_FOLDER)
