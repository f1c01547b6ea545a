"""`keda-jobs compare`: outputs of a trial beside the live ones, on a real S3 server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from keda_jobs.errors import StoreUnavailable
from keda_jobs.storage import ObjectMissing
from keda_jobs.storage.compare import Compared, Verdict, compare
from keda_jobs.storage.s3 import ObjectInfo, S3Bucket
from stack import S3Server

from .conftest import Cli


@pytest.fixture
def store_cli(s3_server: S3Server) -> Cli:
    cli = Cli("")
    cli.environment |= s3_server.environment()
    return cli


def write(folder: Path, objects: dict[str, bytes]) -> None:
    for key, data in objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)


def test_each_output_is_equal_different_or_missing(store_cli: Cli, s3_server: S3Server) -> None:
    folder = s3_server.bucket_folder
    live = {"a/same": b"same", "a/longer": b"1", "a/changed": b"old", "a/more": b"of no trial"}
    side = {"a/same": b"same", "a/longer": b"12", "a/changed": b"new", "ä b": b"alone", "trials/one/a/same": b"deep"}
    write(folder, live | {f"trials/one/{key}": data for key, data in side.items()})
    write(folder, {"trials/one-more/a/same": b"of another trial"})
    done = store_cli("compare", "one", "--json")
    assert done.code == 1
    assert done.json == [
        {"key": "a/changed", "verdict": "different", "size": 3, "live_size": 3},
        {"key": "a/longer", "verdict": "different", "size": 2, "live_size": 1},
        {"key": "trials/one/a/same", "verdict": "different", "size": 4, "live_size": 4},
        {"key": "ä b", "verdict": "missing", "size": 5, "live_size": None},
    ]
    done = store_cli("compare", "one")
    assert done.stdout.splitlines()[0] == "different  a/changed  3 bytes, live 3"
    assert done.stdout.splitlines()[-1] == "missing    ä b  5 bytes, no live object"
    assert done.stderr == "5 outputs compared: 1 equal, 3 different, 1 missing\n"


def test_a_mistake_is_one_line(store_cli: Cli, s3_server: S3Server) -> None:
    nothing = store_cli("compare", "nothing")
    assert (nothing.code, nothing.stdout) == (1, "")
    assert nothing.stderr.startswith("keda-jobs: there is no object below trials/nothing/: try events with ")
    name = store_cli("compare", "images/")
    assert (name.code, len(name.stderr.splitlines())) == (2, 1)
    store_cli.environment["R2_SECRET_ACCESS_KEY"] = "another-secret"
    refused = store_cli("compare", "one", "--json")
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("keda-jobs: bucket keda-jobs at ")
    assert len(refused.stderr.splitlines()) == 1
    store_cli.environment["R2_BUCKET"] = ""
    assert store_cli("compare", "one").stderr == "keda-jobs: R2_BUCKET is not set\n"


class Uploaded:
    """Bucket whose hashes never agree, as after uploads in parts of other sizes."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects
        self.read: list[tuple[str, int]] = []

    async def pages(self, prefix: str) -> Any:
        yield [self._info(key) for key in sorted(self.objects) if key.startswith(prefix)]

    async def info(self, key: str) -> ObjectInfo:
        if key not in self.objects:
            raise ObjectMissing(key)
        return self._info(key)

    async def part(self, key: str, start: int, size: int) -> bytes:
        if key.endswith("unreadable"):
            raise StoreUnavailable("the store is unavailable")
        self.read.append((key, start))
        return self.objects[key][start : start + size]

    def _info(self, key: str) -> ObjectInfo:
        return ObjectInfo(key, len(self.objects[key]), f'"{key}-2"')


def compared(bucket: Uploaded) -> list[Compared]:
    async def read() -> list[Compared]:
        return [one async for page in compare(cast("S3Bucket", bucket), "t/") for one in page]

    return asyncio.run(read())


def test_where_hashes_say_nothing_bytes_are_compared_part_by_part_until_they_differ() -> None:
    large = bytes(9 * 2**20)
    bucket = Uploaded({"a": large, "t/a": large, "b": large, "t/b": b"x" + large[1:]})
    assert [one.verdict for one in compared(bucket)] == [Verdict.EQUAL, Verdict.DIFFERENT]
    assert len([key for key, _ in bucket.read if key == "a"]) == 3
    assert len([key for key, _ in bucket.read if key == "b"]) == 1


def test_a_store_that_fails_meanwhile_is_an_error_of_keda_jobs() -> None:
    with pytest.raises(StoreUnavailable, match="the store is unavailable"):
        compared(Uploaded({"unreadable": b"1", "t/unreadable": b"2", "b": b"1", "t/b": b"2"}))
