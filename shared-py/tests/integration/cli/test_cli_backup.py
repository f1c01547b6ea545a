"""`keda-jobs streams backup`, `backups` and `restore` as an operator, a script and a CronJob see them."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from keda_jobs.domain.subjects import STREAMS
from stack import S3Server

from .conftest import STREAM, Cli, Server

LOST = "keda-jobs-events (3 messages)"


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "backups")


@pytest.fixture
def taken(cli: Cli, server: Server, place: str) -> str:
    """Take a backup of an event and its dead letter. Return its name."""
    server.bury([b"{}"])
    name: str = cli("streams", "backup", "--to", place, "--json").json["name"]
    server.publish("image-download", b'{"n": 1}')
    return name


def test_a_backup_says_what_it_holds(cli: Cli, server: Server, place: str) -> None:
    server.bury([b"{}"])

    done = cli("streams", "backup", "--to", place)
    [listed] = cli("streams", "backups", "--from", place, "--json").json

    assert done.code == 0
    assert done.stdout.startswith("keda-jobs-retries: 0 messages, ")
    assert f"{STREAM}: 2 messages, " in done.stdout
    assert done.stderr.splitlines()[-1] == f"backup {listed['name']} is complete"
    assert listed["complete"]
    assert listed["name"] in cli("streams", "backups", "--from", place).stdout


def test_json_has_the_documented_keys(cli: Cli, server: Server, place: str) -> None:
    backup = cli("streams", "backup", "--to", place, "--keep", "1", "--json").json
    restored = cli("streams", "restore", "--from", place, "--yes", "--json").json

    assert set(backup) == {"name", "bytes", "streams", "deleted"}
    assert set(backup["streams"][0]) == {"name", "messages", "bytes"}
    del backup["deleted"]
    replaced = dict.fromkeys(STREAMS, 0)
    assert restored == {"dry_run": False, "restored": True, "replaced": replaced} | backup
    assert server.count(">") == 0


def test_messages_are_replaced_only_when_told_to(cli: Cli, server: Server, place: str, taken: str) -> None:
    refused = cli("streams", "restore", "--from", place, "--yes")
    unanswered = cli("streams", "restore", "--from", place, "--replace")
    tried = cli("streams", "restore", "--from", place, "--replace", "--dry-run")
    assert (refused.code, unanswered.code, tried.code) == (2, 2, 0)
    assert refused.stderr.endswith(
        f"keda-jobs: the server's streams hold messages: {LOST}; to delete them, pass --replace\n"
    )
    assert unanswered.stderr.endswith("stdin is not a terminal, pass --yes\n")
    assert tried.stderr.splitlines()[-1] == "nothing was changed"
    assert f"{STREAM}: 2 messages, replaces the server's, with 3 messages" in tried.stderr
    assert server.count(">") == 3

    done = cli("streams", "restore", taken, "--from", place, "--replace", "--yes")

    assert (done.code, done.stderr.splitlines()[-1]) == (0, "restored")
    assert server.count("image-download") == server.count("dead-letter") == 1


def test_older_backups_are_deleted(cli: Cli, server: Server, place: str, taken: str) -> None:
    del server
    older = Path(place) / "2026-01-01T00-00-00Z"
    Path(place, taken).rename(older)

    done = cli("streams", "backup", "--to", place, "--keep", "30d")

    assert done.stderr.splitlines()[-1] == f"deleted 1 older backup: {older.name}"
    assert not older.exists()


def test_a_bucket_takes_backups_beside_each_other(cli: Cli, server: Server, s3_server: S3Server) -> None:
    del server
    cli.environment |= s3_server.environment()

    assert cli("streams", "backup", "--to", "s3:prod").code == 0
    assert cli("streams", "restore", "--from", "s3:prod", "--yes").code == 0
    assert cli("streams", "backups", "--from", "s3", "--json").json == []
    assert {path.name for path in s3_server.bucket_folder.iterdir()} == {"prod"}


def last_backup(server: Server, subject: str) -> str | None:
    """Return what the server holds on a subject of the record."""
    found = server.api("STREAM.MSG.GET.keda-jobs-backups", {"last_by_subj": subject}).get("message")
    return found and base64.b64decode(found.get("data", "")).decode()


def test_the_server_keeps_a_record_of_the_last_complete_backup(cli: Cli, server: Server, place: str) -> None:
    assert cli("streams", "backup", "--to", "/dev/null/backups").code == 1
    assert last_backup(server, "backup.started") == ""
    assert last_backup(server, "backup.complete") is None

    name = cli("streams", "backup", "--to", place, "--json").json["name"]
    cli("streams", "backup", "--to", "/dev/null/backups")
    assert last_backup(server, "backup.complete") == name


def test_a_server_that_takes_no_record_is_backed_up(cli: Cli, server: Server, place: str) -> None:
    server.api("STREAM.DELETE.keda-jobs-backups")

    done = cli("streams", "backup", "--to", place)

    assert done.code == 0
    assert "no alert sees this backup, because NATS takes no record of it: no stream takes the subject" in done.stderr
    assert cli("streams", "backups", "--from", place, "--json").json[0]["complete"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("backup", "--to", "s3:../prod"), "is no place"),
        (("backup", "--to", "s3://bucket"), "is no place"),
        (("backup", "--to", ""), "is no place"),
        (("backup", "--to", "s3"), "R2_BUCKET is not set"),
        (("backup", "--to", "backups", "--keep", "0"), "keep at least 1 backup"),
        (("backup", "--to", "backups", "--keep", "-1"), "is not a duration"),
        (("restore", "--from", "nowhere"), "there is no complete backup in this place"),
        (("restore", "../../etc", "--from", "nowhere"), "is no name of a backup"),
        (("restore", "2026-01-01T00-00-00Z", "--from", "nowhere"), "there is no file"),
    ],
)
def test_a_mistake_is_one_line(
    cli: Cli, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    del server
    monkeypatch.chdir(tmp_path)

    done = cli("streams", *arguments)

    assert done.code in (1, 2)
    assert said in done.stderr
    assert list(tmp_path.glob("backups")) == []


def test_a_server_without_streams_has_no_backup(cli: Cli, bare_server: Server, place: str) -> None:
    del bare_server
    done = cli("streams", "backup", "--to", place)

    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == (
        "keda-jobs: there is no stream keda-jobs-events on this server: make it with `keda-jobs streams apply`\n"
    )
