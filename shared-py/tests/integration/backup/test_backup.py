"""A backup that is taken while jobs work lacks nothing: what moves between the streams meanwhile is in one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keda_jobs.backup import take
from keda_jobs.backup.files import list_backups
from keda_jobs.backup.places import Folder
from keda_jobs.backup.take import BackupFailed
from keda_jobs.domain.subjects import DEAD_LETTER, DELAYED_STREAM, RETRY_STREAM, STREAM
from keda_jobs.jetstream.api import durable_consumers, request, stream_info
from stack import until

from .conftest import Meanwhile, Restored, World, backed_up

# Of several parts, which the server sends no faster than they are stored.
LARGE = 400_000


async def test_all_that_is_there_comes_back_and_is_worked_off(world: World, restored: Restored, tmp_path: Path) -> None:
    await world.publish("acked", "failed", "buried", "in-flight", "unread")
    acked, failed, buried, _in_flight = await world.fetch(4)
    await acked.ack()
    await world.fail(failed, 5)
    await world.bury(buried)
    [before] = await durable_consumers(world.connection)

    place = Folder(tmp_path / "backups")
    after = await restored(place, await backed_up(world, place))

    [consumer] = await durable_consumers(after.connection)
    assert (consumer["config"], consumer["num_ack_pending"]) == (before["config"], 1)
    assert await after.count(DEAD_LETTER) == 1
    assert sorted(await after.rest()) == ["failed", "in-flight", "unread"]


async def test_an_event_that_fails_between_the_two_snapshots_is_not_lost(
    world: World, restored: Restored, tmp_path: Path
) -> None:
    # Its retry comes too late for one snapshot, and its ack is in the other.
    await world.publish("moves", "stays")
    moves, _stays = await world.fetch(2)

    async def fail() -> None:
        await world.fail(moves, 3600)

    place = Meanwhile(tmp_path / "backups", RETRY_STREAM, fail)
    after = await restored(place, await backed_up(world, place))

    assert sorted(await after.rest()) == ["moves", "stays"]


async def test_a_retry_that_fires_between_the_two_snapshots_runs_at_most_twice(
    world: World, restored: Restored, tmp_path: Path
) -> None:
    await world.publish("again")
    [again] = await world.fetch(1)
    await world.fail(again, 1)
    place = Meanwhile(tmp_path / "backups", RETRY_STREAM, world.taken)

    after = await restored(place, await backed_up(world, place))

    assert 1 <= len(seen := await after.rest()) <= 2
    assert set(seen) == {"again"}


async def test_a_retry_that_leaves_its_stream_unread_is_in_the_other_one(
    world: World, restored: Restored, tmp_path: Path
) -> None:
    # The server reads the last message when the first parts are stored. By then it has fired.
    await world.publish(*(f"waits-{number}" for number in range(60)), size=LARGE)
    await world.publish("fires")
    *waiting, fires = await world.fetch(61)
    for delivery in waiting:
        await world.fail(delivery, 3600)
    await world.fail(fires, 0.5)
    place = Meanwhile(tmp_path / "backups", RETRY_STREAM, world.taken)

    after = await restored(place, await backed_up(world, place))

    assert await after.count("retry.due.greeter") == 1
    assert await after.waiting() == len(waiting)


async def test_a_backup_waits_until_what_fired_meanwhile_is_taken(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = (await stream_info(world.connection))["config"]
    await world.publish("stuck")
    [stuck] = await world.fetch(1)
    await request(world.connection, f"STREAM.UPDATE.{STREAM}", {**config, "max_msgs": 1, "discard": "new"})
    monkeypatch.setattr(take, "_TAKEN_WITHIN_S", 0)

    async def fire() -> None:
        await world.fail(stuck, 0)

        async def fired() -> bool:
            info = await stream_info(world.connection, RETRY_STREAM)
            return bool(info["state"]["last_seq"] > 1)

        await until(fired)

    place = Meanwhile(tmp_path / "backups", RETRY_STREAM, fire)
    with pytest.raises(BackupFailed, match="does not take what is due"):
        await backed_up(world, place)


async def test_a_backup_during_which_a_dead_letter_is_replayed_fails(world: World, tmp_path: Path) -> None:
    # It leaves for the stream whose snapshot has been taken.
    await world.publish("dead")
    await world.bury((await world.fetch(1))[0])

    async def delete() -> None:
        last = (await stream_info(world.connection))["state"]["last_seq"]
        await request(world.connection, f"STREAM.MSG.DELETE.{STREAM}", {"seq": last})

    place = Meanwhile(tmp_path / "backups", RETRY_STREAM, delete)
    with pytest.raises(BackupFailed, match="take it again"):
        await backed_up(world, place)
    assert not (await list_backups(place))[0].is_complete


async def test_a_consumer_that_does_nothing_meanwhile_is_not_rewound(world: World, tmp_path: Path) -> None:
    await world.publish("one", "two", "three")
    one, _, three = await world.fetch(3)
    await one.ack()
    await three.ack()

    manifest = await backed_up(world, Folder(tmp_path / "backups"))

    assert manifest.rewind == {}
    assert [stream.name for stream in manifest.streams] == [RETRY_STREAM, DELAYED_STREAM, STREAM]
