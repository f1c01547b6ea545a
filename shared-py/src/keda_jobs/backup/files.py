"""Files of backups in a place: parts with their digests, which backups there are, and which ones go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from keda_jobs.backup.manifest import (
    FILE,
    DamagedBackup,
    Manifest,
    Part,
    StreamBackup,
    manifest_file,
    read_manifest,
)
from keda_jobs.backup.places import UNFINISHED, FileMissing, Place
from keda_jobs.backup.record import taken_at

# Two of these are all that a backup holds in memory: one is stored while the server sends the next bytes.
PART_BYTES = 8 * 2**20
# A backup that is being taken has no content list yet, as one that was cut off.
_CUT_OFF_AFTER = timedelta(days=1)
_OURS = re.compile(rf"({re.escape(FILE)}|[0-9A-Za-z_-]+\.[0-9]{{6,}})({re.escape(UNFINISHED)})?")

Progress = Callable[[int], None]
"""Called with the number of bytes that were moved since the last call."""


@dataclass(frozen=True, slots=True)
class Keep:
    """Backups to keep: the newest ones, or those up to an age."""

    newest: int | None = None
    max_age: timedelta = timedelta.max

    def includes(self, number: int, age: timedelta) -> bool:
        """Return whether to keep the backup with this number, counted from the newest complete one, which is 1."""
        return number == 1 or (age <= self.max_age and (self.newest is None or number <= self.newest))


@dataclass(frozen=True, slots=True)
class StoredBackup:
    """Backup in a place. One that was cut off is not complete, and cannot be restored."""

    name: str
    taken_at: datetime
    is_complete: bool
    files: tuple[str, ...]


async def write_parts(
    place: Place, folder: str, stream: str, chunks: AsyncIterator[bytes], progress: Progress
) -> tuple[Part, ...]:
    """Store the bytes of a snapshot, cut into parts."""
    parts: list[Part] = []
    part = bytearray()

    async def store() -> None:
        file = f"{stream}.{len(parts) + 1:06}"
        await place.put(f"{folder}/{file}", part)
        parts.append(Part(file=file, bytes=len(part), sha256=hashlib.sha256(part).hexdigest()))
        progress(len(part))

    async for chunk in chunks:
        part += chunk
        if len(part) >= PART_BYTES:
            await store()
            part = bytearray()
    if part:
        await store()
    return tuple(parts)


async def read_parts(place: Place, folder: str, stream: StreamBackup, progress: Progress) -> AsyncGenerator[bytes]:
    """Yield the parts of a snapshot, each compared with its digest. Raises `DamagedBackup`, `FileMissing`."""
    for part in stream.parts:
        data = await place.get(f"{folder}/{part.file}")
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise DamagedBackup(f"{folder}/{part.file} is not as it was written: restore another backup")
        progress(len(data))
        yield data


async def list_backups(place: Place) -> list[StoredBackup]:
    """Return the backups in a place, newest first. Files of others are left out."""
    files: dict[str, list[str]] = {}
    for file in await place.names():
        folder, _, rest = file.partition("/")
        if _OURS.fullmatch(rest):
            files.setdefault(folder, []).append(file)
    found = [
        StoredBackup(name, began, manifest_file(name) in names, tuple(sorted(names)))
        for name, names in files.items()
        if (began := taken_at(name)) is not None
    ]
    return sorted(found, key=lambda backup: backup.taken_at, reverse=True)


async def delete_expired(place: Place, keep: Keep, newest: Manifest) -> list[str]:
    """Delete the backups that are not to be kept, once `newest` is complete. Return their names.

    The last one of a stream that was deleted, lost or restored stays: since then the backups hold another stream.
    """
    stored = await list_backups(place)
    # A newer name has a wrong time, from another server's clock. It takes nobody's place.
    older = [backup for backup in stored if backup.name <= newest.name]
    gone = [backup for backup in expired(older, keep) if not await _is_last_of_its_stream(place, backup, older)]
    for backup in gone:
        # First the content list: what is left when this is cut off is no complete backup.
        for file in sorted(backup.files, key=lambda file: file != manifest_file(backup.name)):
            await place.delete(file)
    return [backup.name for backup in gone]


def expired(backups: Sequence[StoredBackup], keep: Keep) -> list[StoredBackup]:
    """Return the backups that go. They come newest first, and their ages are those at the newest one."""
    gone: list[StoredBackup] = []
    complete = 0
    for backup in backups:
        age = backups[0].taken_at - backup.taken_at
        if backup.is_complete:
            complete += 1
            if not keep.includes(complete, age):
                gone.append(backup)
        elif age > _CUT_OFF_AFTER:
            gone.append(backup)
    return gone


async def _is_last_of_its_stream(place: Place, backup: StoredBackup, backups: Sequence[StoredBackup]) -> bool:
    """Return whether the next newer complete backup holds another stream."""
    if not backup.is_complete:
        return False
    newer = takewhile(lambda one: one is not backup, backups)
    *_, following = (one for one in newer if one.is_complete)
    return await _created(place, backup) not in ("", await _created(place, following))


async def _created(place: Place, backup: StoredBackup) -> str:
    """Return when the events stream of a backup was made, empty where that is unknown."""
    try:
        return (await read_manifest(place, backup.name)).created
    except (DamagedBackup, FileMissing):
        return ""
