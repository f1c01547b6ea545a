"""Restore of a backup: everything is checked before anything on the server changes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from keda_jobs.backup.files import Progress, list_backups, read_parts
from keda_jobs.backup.manifest import Manifest, StreamBackup, read_manifest
from keda_jobs.backup.places import Place
from keda_jobs.backup.record import taken_at
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import BrokerUnavailable, JobError, Misconfigured
from keda_jobs.jetstream.api import ApiError, StreamMissing, request, stream_info
from keda_jobs.jetstream.connection import NatsConnection
from keda_jobs.jetstream.snapshot import restore_snapshot

_ELECTED_WITHIN_S = 60.0
_POLL_S = 0.25


class RestoreFailed(JobError):
    """The streams are not as in the backup."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Backup whose files are as they were written, and the number of messages in each stream that it would replace."""

    manifest: Manifest
    replaced: Mapping[str, int]

    @property
    def loses(self) -> bool:
        """True where the server's streams hold messages."""
        return any(self.replaced.values())


async def newest_backup(place: Place) -> str:
    """Return the name of the newest complete backup. Raises `Misconfigured`."""
    for backup in await list_backups(place):
        if backup.is_complete:
            return backup.name
    raise Misconfigured("there is no complete backup in this place")


async def check_backup(place: Place, name: str, progress: Progress) -> Manifest:
    """Read all files of a backup and compare their digests. Raises `DamagedBackup`, `FileMissing`, `Misconfigured`."""
    if taken_at(name) is None:
        raise Misconfigured(f"{name} is no name of a backup: `keda-jobs streams backups` lists them")
    manifest = await read_manifest(place, name)
    for stream in manifest.streams:
        async with aclosing(read_parts(place, name, stream, progress)) as parts:
            async for _ in parts:
                pass
    return manifest


async def plan_restore(connection: NatsConnection, manifest: Manifest) -> Plan:
    """Return what a restore replaces. Raises `BrokerUnavailable`."""
    replaced: dict[str, int] = {}
    for stream in manifest.streams:
        if (messages := await _count(connection, stream.name)) is not None:
            replaced[stream.name] = messages
    return Plan(manifest, replaced)


async def restore_backup(
    connection: NatsConnection, place: Place, plan: Plan, progress: Progress, *, replicas: int | None = None
) -> None:
    """Delete the streams of the plan and restore those of its backup, with consumers and waiting retries.

    Raises `RestoreFailed`. Then a stream is missing or holds a part, and a second restore with this backup replaces it.
    """
    await _delete(connection, plan)
    for stream in plan.manifest.streams:
        try:
            await _restore(connection, place, plan.manifest.name, stream, progress, replicas)
        except JobError as error:
            raise RestoreFailed(
                f"{stream.name} is not restored: {error}. The backup is unchanged: repeat this with --replace"
            ) from error
    for consumer, sequence in plan.manifest.rewind.items():
        await _rewind(connection, consumer, sequence)


async def _delete(connection: NatsConnection, plan: Plan) -> None:
    """Delete the server's streams. Raises `RestoreFailed` if an empty one has got messages since.

    The events stream comes first: it would take a restored retry and be deleted with it.
    """
    for stream in reversed(plan.manifest.streams):
        messages = await _count(connection, stream.name)
        if messages and not plan.loses:
            raise RestoreFailed(f"{stream.name} was empty and now holds {messages}: stop the publishers, repeat this")
        if messages is not None:
            await request(connection, f"STREAM.DELETE.{stream.name}")


async def _restore(
    connection: NatsConnection,
    place: Place,
    folder: str,
    stream: StreamBackup,
    progress: Progress,
    replicas: int | None,
) -> None:
    config = stream.config if replicas is None else {**stream.config, "num_replicas": replicas}
    async with aclosing(read_parts(place, folder, stream, progress)) as parts:
        info = await restore_snapshot(connection, {"config": config, "state": stream.state}, parts)
    last, expected = int(info["state"]["last_seq"]), int(stream.state["last_seq"])
    if last < expected:
        raise RestoreFailed(f"its last message is {last} instead of {expected}")


async def _rewind(connection: NatsConnection, consumer: str, sequence: int) -> None:
    """Let a consumer read again from number `sequence`. On several servers it first elects a leader."""
    ends = time.monotonic() + _ELECTED_WITHIN_S
    while True:
        try:
            await request(connection, f"CONSUMER.RESET.{STREAM}.{consumer}", {"seq": sequence})
            return
        except (Misconfigured, BrokerUnavailable) as error:
            if isinstance(error, ApiError) or time.monotonic() > ends:
                raise RestoreFailed(f"{consumer} does not read again from {sequence}: {error}") from error
            await asyncio.sleep(_POLL_S)


async def _count(connection: NatsConnection, stream: str) -> int | None:
    try:
        return int((await stream_info(connection, stream))["state"]["messages"])
    except StreamMissing:
        return None
