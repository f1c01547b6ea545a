"""A restore checks everything first, destroys nothing that it was not told to, and can be repeated."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from nats.aio.msg import Msg

from keda_jobs.backup.files import list_backups
from keda_jobs.backup.manifest import DamagedBackup, Manifest, manifest_file
from keda_jobs.backup.places import BucketFolder, FileMissing, Folder, Place
from keda_jobs.backup.restore import RestoreFailed, check_backup, newest_backup, plan_restore, restore_backup
from keda_jobs.domain.subjects import STREAM
from keda_jobs.errors import JobError, Misconfigured, StoreUnavailable
from keda_jobs.jetstream import snapshot
from keda_jobs.jetstream.api import stream_info
from keda_jobs.jetstream.broker import JetStreamBroker
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings
from keda_jobs.storage import S3Bucket
from stack import S3Server, until
from stack.servers import nats_cluster

from .conftest import Open, Restored, World, backed_up, ignore

T = TypeVar("T")

LARGE = 400_000


@pytest.fixture
def place(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "backups")


@pytest.fixture
async def bucket(s3_server: S3Server) -> AsyncIterator[S3Bucket]:
    names = {name.lower(): value for name, value in s3_server.environment().items()}
    async with S3Bucket(StoreSettings.model_validate(names), 1, StoreMetrics(JobRegistry("test"))) as opened:
        yield opened


async def restore(world: World, place: Place, manifest: Manifest) -> None:
    checked = await check_backup(place, manifest.name, ignore)
    await restore_backup(world.connection, place, await plan_restore(world.connection, checked), ignore)


async def large_backup(world: World, place: Place) -> Manifest:
    """Take a backup of which the events stream has three parts."""
    await world.publish(*(f"{number}" for number in range(45)), size=LARGE)
    manifest = await backed_up(world, place)
    assert len(manifest.streams[-1].parts) == 3
    return manifest


async def test_a_stream_of_several_parts_comes_back_from_a_bucket(world: World, bucket: S3Bucket) -> None:
    place = BucketFolder(bucket, "backups")
    manifest = await large_backup(world, place)

    assert await newest_backup(place) == manifest.name
    await restore(world, place, manifest)

    assert await world.count("greet") == 45
    assert {file.partition("/")[0] for file in await place.names()} == {manifest.name}
    assert await BucketFolder(bucket, "other").names() == []


@pytest.mark.slow
async def test_a_place_that_takes_longer_than_the_server_waits_is_waited_for(world: World, tmp_path: Path) -> None:
    # The server gives up after 5 s without an acknowledgement, or without a chunk.
    class Slow(Folder):
        async def put(self, name: str, data: bytes | bytearray) -> None:
            if name.endswith("events.000001"):
                await asyncio.sleep(6)
            await super().put(name, data)

        async def get(self, name: str) -> bytes:
            if name.endswith("events.000002"):
                await asyncio.sleep(6)
            return await super().get(name)

    slow = Slow(tmp_path / "backups")
    manifest = await large_backup(world, slow)
    await restore_backup(world.connection, slow, await plan_restore(world.connection, manifest), ignore)

    assert await world.count("greet") == 45


async def test_a_backup_that_was_cut_off_is_never_restored(
    world: World, place: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = await backed_up(world, place)
    put = Folder.put

    async def full(self: Folder, name: str, data: bytes | bytearray) -> None:
        if f"{STREAM}." in name:
            raise StoreUnavailable("No space left on device")
        await put(self, name, data)

    monkeypatch.setattr(Folder, "put", full)
    monkeypatch.setattr("keda_jobs.backup.take.backup_name", lambda _now: "2999-01-01T00-00-00Z")
    with pytest.raises(StoreUnavailable):
        await backed_up(world, place)

    cut_off, complete = await list_backups(place)
    assert (cut_off.name, cut_off.is_complete) == ("2999-01-01T00-00-00Z", False)
    assert await newest_backup(place) == complete.name == manifest.name
    with pytest.raises(FileMissing):
        await check_backup(place, cut_off.name, ignore)


@pytest.mark.parametrize("harm", ["changed", "shortened", "missing", "manifest", "config"])
async def test_a_damaged_file_is_found_before_anything_is_replaced(world: World, tmp_path: Path, harm: str) -> None:
    place = Folder(tmp_path / "backups")
    await world.publish("one")
    manifest = await backed_up(world, place)
    folder = tmp_path / "backups" / manifest.name
    part = folder / manifest.streams[-1].parts[-1].file
    match harm:
        case "changed":
            part.write_bytes(part.read_bytes()[:-1] + b"x")
        case "shortened":
            part.write_bytes(part.read_bytes()[:-1])
        case "missing":
            part.unlink()
        case "manifest":
            (tmp_path / "backups" / manifest_file(manifest.name)).write_text('{"name": ')
        case "config":
            nameless = [stream.model_dump() | {"config": {}} for stream in manifest.streams]
            text = json.dumps(manifest.model_dump() | {"streams": nameless})
            (tmp_path / "backups" / manifest_file(manifest.name)).write_text(text)

    with pytest.raises(FileMissing if harm == "missing" else DamagedBackup):
        await restore(world, place, manifest)
    assert await world.count("greet") == 1


async def test_a_stream_that_is_no_longer_empty_is_not_deleted(world: World, place: Folder) -> None:
    manifest = await backed_up(world, place)
    plan = await plan_restore(world.connection, manifest)
    await world.publish("new")

    with pytest.raises(RestoreFailed, match="now holds 1"):
        await restore_backup(world.connection, place, plan, ignore)
    assert await world.count("greet") == 1


async def test_a_restore_that_was_cut_off_can_be_repeated(world: World, place: Folder) -> None:
    manifest = await large_backup(world, place)

    class Broken(Folder):
        async def get(self, name: str) -> bytes:
            if name.endswith("events.000003"):
                raise StoreUnavailable("the store is away")
            return await super().get(name)

    broken = Broken(place._path)
    with pytest.raises(RestoreFailed, match=r"the store is away.*repeat this"):
        await restore_backup(world.connection, broken, await plan_restore(world.connection, manifest), ignore)
    await restore(world, place, manifest)

    assert await world.count("greet") == 45
    assert await world.rest()


async def test_a_refused_config_says_why(world: World, place: Folder) -> None:
    manifest = await backed_up(world, place)
    plan = await plan_restore(world.connection, manifest)

    with pytest.raises(RestoreFailed, match="replicas > 1 not supported"):
        await restore_backup(world.connection, place, plan, ignore, replicas=3)


async def test_a_consumer_reads_again_from_where_the_backup_says(world: World, place: Folder) -> None:
    await world.publish("one", "two", "three")
    for delivery in await world.fetch(3):
        await delivery.ack()
    manifest = (await backed_up(world, place)).model_copy(update={"rewind": {"greeter-consumer": 2}})
    plan = await plan_restore(world.connection, manifest)

    await restore_backup(world.connection, place, plan, ignore)

    assert await world.rest() == ["two", "three"]


async def test_a_disk_that_takes_long_for_each_message_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server answers a piece when it has stored those before, and gives up if no other comes within 5 s.
    monkeypatch.setattr(snapshot, "_SIGN_OF_LIFE_S", 0.05)
    client = world.connection.client
    received: list[Msg] = []

    async def receive(piece: Msg) -> None:
        received.append(piece)
        if len(received) >= 4:
            for waiting in received if len(received) == 4 else received[-1:]:
                await waiting.respond(b"")

    await client.subscribe("restore.here", cb=receive)
    data = os.urandom(50_000)

    async def parts() -> AsyncIterator[bytes]:
        yield data

    async with AsyncExitStack() as others:
        upload = snapshot._Upload(world.connection, others, "STREAM.RESTORE.x", "restore.here")
        await upload.send_all(parts())

        async def complete() -> bool:
            return b"".join(piece.data for piece in received) == data

        await until(complete)


@pytest.mark.slow
async def test_one_server_becomes_three(world: World, place: Folder, tmp_path: Path, open_connection: Open) -> None:
    await world.publish("one", "two", "three")
    await world.fetch(2)
    # On several servers a consumer has a leader only after a while.
    manifest = (await backed_up(world, place)).model_copy(update={"rewind": {"greeter-consumer": 1}})
    servers = nats_cluster(tmp_path)
    try:
        connection = await open_connection(servers[0])
        plan = await until(lambda: answered(plan_restore(connection, manifest)))
        await restore_backup(connection, place, plan, ignore, replicas=3)

        info = await until(lambda: answered(stream_info(connection)))
        assert info["config"]["num_replicas"] == 3
        after = World(connection, await JetStreamBroker.bind(connection, "greeter-consumer", fetch_s=0.5))
        assert await after.rest() == ["one", "two", "three"]
        await connection.client.close()
    finally:
        for server in servers:
            server.kill()


async def answered(question: Awaitable[T]) -> T | None:
    """Return the answer, None while the servers elect their leader."""
    try:
        return await question
    except JobError:
        return None


@pytest.mark.parametrize("name", ["../2026-01-01T00-00-00Z", "today", ""])
async def test_only_names_of_backups_are_looked_for(place: Folder, name: str) -> None:
    with pytest.raises(Misconfigured, match="is no name of a backup"):
        await check_backup(place, name, ignore)


async def test_a_folder_that_cannot_be_written_is_said(world: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        await backed_up(world, Folder(tmp_path / "file"))


async def test_a_restored_stream_is_another_one(world: World, restored: Restored, place: Folder) -> None:
    manifest = await backed_up(world, place)
    new = await restored(place, manifest)

    # So retention keeps the last backup before it, and a restore of the wrong one can be undone.
    assert (await backed_up(new, place)).created > manifest.created
