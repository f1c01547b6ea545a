"""Backups that are kept: the newest complete one always, and no other than asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.backup.files import Keep, StoredBackup, delete_expired, expired, list_backups
from keda_jobs.backup.manifest import Manifest, write_manifest
from keda_jobs.backup.places import Folder
from keda_jobs.backup.record import backup_name, taken_at

NOW = datetime(2026, 11, 27, tzinfo=UTC)
DAY = timedelta(days=1)

ages = st.lists(
    st.tuples(st.timedeltas(timedelta(seconds=1), 100 * DAY), st.booleans()),
    max_size=12,
    unique_by=lambda pair: pair[0],
)
keeps = st.one_of(
    st.integers(1, 14).map(lambda count: Keep(newest=count)),
    st.timedeltas(timedelta(0), 60 * DAY).map(lambda age: Keep(max_age=age)),
)


def backups(found: list[tuple[timedelta, bool]]) -> list[StoredBackup]:
    stored = [StoredBackup(backup_name(NOW - age), NOW - age, complete, ()) for age, complete in found]
    # The one that was just completed.
    just_taken = StoredBackup(backup_name(NOW), NOW, True, ())
    return [just_taken, *sorted(stored, key=lambda backup: backup.taken_at, reverse=True)]


@given(ages, keeps)
def test_what_is_kept(found: list[tuple[timedelta, bool]], keep: Keep) -> None:
    stored = backups(found)
    gone = expired(stored, keep)
    kept = [backup for backup in stored if backup not in gone]

    complete = [backup for backup in stored if backup.is_complete]
    complete_kept = [backup for backup in kept if backup.is_complete]
    assert complete[:1] == complete_kept[:1]
    assert complete_kept == complete[: len(complete_kept)]
    if keep.newest is not None:
        assert len(complete_kept) == min(len(complete), keep.newest)
    else:
        assert all(NOW - backup.taken_at <= keep.max_age for backup in complete_kept[1:])
    # Another process may be taking it now.
    assert all(NOW - backup.taken_at > DAY for backup in gone if not backup.is_complete)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))  # noqa: DTZ001 - hypothesis adds the zone itself
def test_names_sort_by_time_and_say_it(moment: datetime) -> None:
    began = moment.replace(tzinfo=UTC, microsecond=0)

    assert taken_at(backup_name(began)) == began
    assert backup_name(began) < backup_name(began + timedelta(seconds=1))


def test_other_names_are_no_backups() -> None:
    assert taken_at("backup.json") is None
    assert taken_at("2026-1-7T1-15-0Z") is None
    assert taken_at("2026-11-27T01-15-00Z/..") is None


class Stored:
    """Folder with backups of the last days, by their age in days."""

    def __init__(self, path: Path) -> None:
        self.place = Folder(path)
        self._path = path

    async def take(self, days: int, stream: str = "first") -> Manifest:
        """Complete a backup of a stream that was made at `stream`."""
        name = backup_name(NOW - days * DAY)
        manifest = Manifest(name=name, created=stream, server_version="2.15.1", streams=(), rewind={})
        await self.place.put(f"{name}/keda-jobs-events.000001", b"messages")
        await write_manifest(self.place, manifest)
        return manifest

    async def days(self) -> list[int]:
        """Return the ages of the backups that are left."""
        return [(NOW - backup.taken_at).days for backup in await list_backups(self.place)]

    def files(self) -> list[str]:
        return sorted(path.relative_to(self._path).as_posix() for path in self._path.rglob("*") if path.is_file())


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


async def test_the_last_backup_of_a_lost_stream_stays(stored: Stored) -> None:
    for days in (9, 8, 7):
        await stored.take(days)
    # NATS lost its disk, and an empty stream was made in its place.
    for days in (3, 2, 1):
        await stored.take(days, "second")
    newest = await stored.take(0, "second")

    assert len(await delete_expired(stored.place, Keep(newest=2), newest)) == 4
    assert await stored.days() == [0, 1, 7]
    assert await delete_expired(stored.place, Keep(max_age=DAY), newest) == []


async def test_a_damaged_content_list_costs_no_other_backup(stored: Stored) -> None:
    for days in (3, 2, 1):
        await stored.take(days)
    await stored.place.put(f"{backup_name(NOW - 2 * DAY)}/backup.json", b"")
    newest = await stored.take(0)

    await delete_expired(stored.place, Keep(newest=1), newest)

    # Nobody knows of which stream the damaged one was.
    assert await stored.days() == [0, 3]


async def test_a_name_from_a_wrong_clock_takes_nobodys_place(stored: Stored) -> None:
    await stored.take(-3650)
    await stored.take(1)
    newest = await stored.take(0)

    await delete_expired(stored.place, Keep(newest=1), newest)

    assert await stored.days() == [-3650, 0]


async def test_files_of_others_stay(stored: Stored) -> None:
    newest = await stored.take(0)
    others = [f"{name}/{file}" for name in ("2020-01-01T00-00-00Z", "2020-1-1T0-0-0Z") for file in ("notes.txt", "a/b")]
    others += ["2020-1-1T0-0-0Z/backup.json", "readme", "images/1.png"]
    for file in others:
        await stored.place.put(file, b"")
    before = stored.files()

    assert await delete_expired(stored.place, Keep(newest=1), newest) == []
    assert stored.files() == before
