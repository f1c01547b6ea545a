"""`keda-jobs streams backup` and `keda-jobs streams backups`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Annotated

import typer

from keda_jobs.backup.files import Keep, Progress, StoredBackup, delete_expired, list_backups
from keda_jobs.backup.manifest import Manifest
from keda_jobs.backup.places import open_place
from keda_jobs.backup.record import record_complete, record_start
from keda_jobs.backup.take import take_backup
from keda_jobs.cli import options
from keda_jobs.cli.connection import run
from keda_jobs.cli.terminal import (
    add_row,
    format_age,
    new_table,
    pluralize,
    print_err,
    print_json,
    print_out,
    progress_meter,
)
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.connection import NatsConnection

PLACE_HELP = "Folder, or `s3` for backups/ in the bucket of R2_BUCKET, or `s3:NAME` for NAME/ in it."
_MIB = 2**20


def _keep(text: str) -> Keep:
    """Parse what to keep: `7`, or an age such as `30d`."""
    if not text.isascii() or not text.isdigit():
        return Keep(max_age=options.duration(text))
    if not 0 < int(text) <= options.MAX_NUMBER:
        raise typer.BadParameter("keep at least 1 backup")
    return Keep(newest=int(text))


KeepOption = Annotated[
    Keep | None,
    typer.Option(
        parser=_keep,
        metavar="N|AGE",
        help="Then delete older backups: all but the N newest, or those older than 30d. The newest one always stays.",
    ),
]


def backup(
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help=PLACE_HELP)],
    keep: KeepOption = None,
    as_json: options.JsonOption = False,
    server: options.ServerOption = None,
) -> None:
    """Back up the streams while everything runs: events, waiting retries, dead letters, consumers.

    The backup has its content list, backup.json, only when it is complete.

    Examples:

    - `keda-jobs streams backup --to s3 --keep 14`

    - `keda-jobs streams backup --to /mnt/backups --keep 30d`

    JSON: `{"name", "bytes", "streams": [{"name", "messages", "bytes"}], "deleted"}`; `deleted` names older backups.
    """

    async def work(connection: NatsConnection) -> tuple[Manifest, list[str]]:
        # Whatever keeps NATS from taking it is said below, by the backup or after it.
        with suppress(BrokerUnavailable):
            await record_start(connection)
        async with open_place(to) as place:
            with bytes_meter("MiB stored", None) as progress:
                manifest = await take_backup(connection, place, progress)
            if not as_json:
                _print(manifest)
            await _record(connection, manifest)
            gone = [] if keep is None else await delete_expired(place, keep, manifest)
        return manifest, gone

    manifest, gone = run(server, work)
    if as_json:
        print_json(manifest_json(manifest) | {"deleted": gone})
    elif gone:
        print_err(f"deleted {pluralize(len(gone), 'older backup')}: {', '.join(gone)}")


async def _record(connection: NatsConnection, manifest: Manifest) -> None:
    """Let the alert know of a backup. Go on where NATS takes no record of it, because the backup is worth more."""
    try:
        await record_complete(connection, manifest.name)
    except BrokerUnavailable as error:
        print_err(f"no alert sees this backup, because NATS takes no record of it: {error}")


def _print(manifest: Manifest) -> None:
    for stream in manifest.streams:
        print_out(f"{stream.name}: {pluralize(stream.messages, 'message')}, {pluralize(stream.bytes, 'byte')}")
    print_err(f"backup {manifest.name} is complete")


def list_stored(
    place: Annotated[str, typer.Option("--from", metavar="PLACE", help=PLACE_HELP)],
    as_json: options.JsonOption = False,
) -> None:
    """List backups, newest first.

    JSON: `[{"name", "taken_at", "complete"}]`
    """

    async def work() -> list[StoredBackup]:
        async with open_place(place) as opened:
            return await list_backups(opened)

    stored = asyncio.run(work())
    if as_json:
        rows = [(one.name, one.taken_at.isoformat(), one.is_complete) for one in stored]
        print_json([dict(zip(("name", "taken_at", "complete"), row, strict=True)) for row in rows])
        return
    table = new_table("NAME", "AGE", "STATE", right=("AGE",))
    for one in stored:
        add_row(
            table, one.name, format_age(one.taken_at, datetime.now(UTC)), "complete" if one.is_complete else "cut off"
        )
    print_out(table)


def manifest_json(manifest: Manifest) -> dict[str, object]:
    """Return the sizes of a backup for JSON."""
    streams = [{"name": one.name, "messages": one.messages, "bytes": one.bytes} for one in manifest.streams]
    return {"name": manifest.name, "bytes": manifest.bytes, "streams": streams}


@contextmanager
def bytes_meter(step: str, total: int | None) -> Iterator[Progress]:
    """Show progress in MiB. Yield the function to call with each number of bytes."""
    done = 0
    with progress_meter(step, None if total is None else -(-total // _MIB)) as update:

        def moved(size: int) -> None:
            nonlocal done
            done += size
            update(done // _MIB)

        yield moved
