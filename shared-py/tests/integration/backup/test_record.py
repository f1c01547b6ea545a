"""The record of the last backup on the server, which the exporter reads."""

from __future__ import annotations

from keda_jobs.backup.record import NEVER, read_last_backup, record_complete, record_start, taken_at
from keda_jobs.domain.subjects import BACKUP_COMPLETE, BACKUP_STREAM
from keda_jobs.jetstream.api import request, stream_info

from .conftest import World


async def test_only_a_complete_backup_counts(world: World) -> None:
    assert await read_last_backup(world.connection) is None

    await record_start(world.connection)
    assert await read_last_backup(world.connection) == NEVER

    for name in ("2026-11-26T01-15-00Z", "2026-11-27T01-15-00Z"):
        await record_complete(world.connection, name)
    await record_start(world.connection)
    assert await read_last_backup(world.connection) == taken_at("2026-11-27T01-15-00Z")
    assert (await stream_info(world.connection, BACKUP_STREAM))["state"]["messages"] == 2


async def test_what_is_no_name_is_no_backup(world: World) -> None:
    for data in (b"", b"\xff", b"2026-11-27"):
        await world.connection.jetstream.publish(BACKUP_COMPLETE, data)
        assert await read_last_backup(world.connection) == NEVER


async def test_a_server_without_the_record_has_no_backups(world: World) -> None:
    await request(world.connection, f"STREAM.DELETE.{BACKUP_STREAM}")
    assert await read_last_backup(world.connection) is None
