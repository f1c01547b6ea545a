"""Backup of the events stream and of those that it sources, while publishers and jobs work.

A message moves between the streams: a job that fails schedules its retry in one stream, then acks in the other, and a
due retry goes back. So the order decides what a restored backup may lack:

1. positions of the consumers. An event that fails later is read again, even if its retry is in no snapshot.
2. streams that are sourced. A retry that fires later has not left its snapshot.
3. the events stream, once it has taken what fired meanwhile.

Whatever moved in between is in both. It runs twice, and nothing is missing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from datetime import datetime
from typing import Any

from keda_jobs.backup.files import Progress, write_parts
from keda_jobs.backup.manifest import Manifest, StreamBackup, write_manifest
from keda_jobs.backup.places import Place
from keda_jobs.backup.record import backup_name
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.declaration import sourced_subjects
from keda_jobs.jetstream.reader import read_page
from keda_jobs.jetstream.snapshot import Snapshot, open_snapshot

# The source acknowledges what it has stored within 5 s.
_TAKEN_WITHIN_S = 60.0
_POLL_S = 0.25


class BackupFailed(BrokerUnavailable):
    """The backup would lack messages."""


async def take_backup(connection: NatsConnection, place: Place, progress: Progress) -> Manifest:
    """Store the streams in `place`. It is a backup once its content list is stored, at the end.

    Raises `StreamMissing`, `BackupFailed`, `BrokerUnavailable`, `StoreUnavailable`, `Transient`.
    """
    info = await stream_info(connection)
    # By the server's clock: names decide which backup is the newest, whoever takes it.
    name = backup_name(datetime.fromisoformat(info["ts"]))
    last = int(info["state"]["last_seq"])
    dead_letters = await _count_dead_letters(connection, last)
    before = await _positions(connection)
    stored = []
    for source in dict.fromkeys(source for source, _, _ in sourced_subjects(info["config"])):
        async with open_snapshot(connection, source) as snapshot:
            stored.append(await _store(place, name, snapshot, progress))
        await _until_taken(connection, info["config"], snapshot)
    async with open_snapshot(connection, STREAM) as snapshot:
        stored.append(await _store(place, name, snapshot, progress))
    # One that is replayed leaves the events stream for the other one, whose snapshot may be older.
    if await _count_dead_letters(connection, last) < dead_letters:
        raise BackupFailed("dead letters were replayed or deleted while the backup was taken: take it again")
    manifest = Manifest(
        name=name,
        created=info["created"],
        server_version=connection.server_version,
        streams=tuple(stored),
        rewind=_rewind(before, await _positions(connection)),
    )
    await write_manifest(place, manifest)
    return manifest


async def _store(place: Place, name: str, snapshot: Snapshot, progress: Progress) -> StreamBackup:
    stream = str(snapshot.info["config"]["name"])
    async with aclosing(snapshot.chunks()) as chunks:
        parts = await write_parts(place, name, stream, chunks, progress)
    return StreamBackup(**snapshot.info, parts=parts)


async def _count_dead_letters(connection: NatsConnection, last: int) -> int:
    """Count those up to message `last`, exactly."""
    while True:
        newer = (await read_page(connection, DEAD_LETTER, last + 1, 1)).count
        everything = (await read_page(connection, DEAD_LETTER, 1, 1)).count
        if (await read_page(connection, DEAD_LETTER, last + 1, 1)).count == newer:
            return everything - newer


async def _until_taken(connection: NatsConnection, config: dict[str, Any], snapshot: Snapshot) -> None:
    """Wait until the events stream has all that fired while the snapshot was taken. Raises `BackupFailed`.

    The snapshot has neither the schedule, which is gone, nor the message that fired.
    """
    stream = str(snapshot.info["config"]["name"])
    last = int((await stream_info(connection, stream))["state"]["last_seq"])
    subjects = [subject for source, subject, _ in sourced_subjects(config) if source == stream]
    ends = time.monotonic() + _TAKEN_WITHIN_S
    while await _holds(connection, stream, subjects, snapshot.last_sequence + 1, last):
        if time.monotonic() > ends:
            raise BackupFailed(
                f"{STREAM} does not take what is due in {stream}: see `keda-jobs status`, then take the backup again"
            )
        await asyncio.sleep(_POLL_S)


async def _holds(connection: NatsConnection, stream: str, subjects: list[str], first: int, last: int) -> bool:
    """Return whether the stream holds a message on one of the subjects, from number `first` to `last`."""
    for subject in subjects:
        page = await read_page(connection, subject, first, 1, stream)
        if any(message.sequence <= last for message in page.messages):
            return True
    return False


_Position = tuple[int, int, int]


async def _positions(connection: NatsConnection) -> dict[str, _Position]:
    """Return the position of each job's consumer: all before the first number is acked."""
    return {
        info["name"]: (info["ack_floor"]["stream_seq"], info["delivered"]["consumer_seq"], info["num_ack_pending"])
        for info in await durable_consumers(connection)
        # The server rewinds no other.
        if info["config"]["deliver_policy"] == "all"
    }


def _rewind(before: dict[str, _Position], after: dict[str, _Position]) -> dict[str, int]:
    """Return from where each consumer that moved reads again."""
    return {name: position[0] + 1 for name, position in before.items() if name in after and after[name] != position}
