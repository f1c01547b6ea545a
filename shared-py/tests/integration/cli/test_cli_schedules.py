"""`keda-jobs pub --in` and `keda-jobs schedules` as an operator and a script see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stack import wait_until

from .conftest import Cli, Server

EVENT = '{"url": "https://a"}'


def later(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")


def test_an_event_is_published_when_it_is_due_and_not_before(cli: Cli, server: Server) -> None:
    done = cli("pub", "image-download", EVENT, "--in", "1h", "--json").json
    cli("pub", "image-download", EVENT, "--in", "1s")

    assert done["published"] == 1
    assert datetime.fromisoformat(done["due"]) > datetime.now(UTC) + timedelta(minutes=30)
    wait_until(lambda: server.count("image-download"))
    assert server.count("image-download") == 1
    [waiting] = cli("schedules", "ls", "--json").json
    assert (waiting["subject"], waiting["due"], waiting["sender"]) == ("image-download", done["due"], "sent")


def test_a_file_is_scheduled_as_a_whole(cli: Cli, server: Server) -> None:
    done = cli("pub", "image-download", "--file", "-", "--at", later(1), input="https://a\nhttps://b\n")

    assert done.code == 0
    assert done.stderr.startswith("2 of 2 scheduled for image-download at ")
    assert server.count("image-download") == 0
    assert cli("schedules", "ls").stderr == "2 events\n"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--in", "10m", "--at", later(1)), "pass --in or --at"),
        (("--in", "366d"), "is not from 0 s to 365 days"),
        (("--in", "soon"), "is not a duration"),
        (("--at", later(-1)), "is in the past"),
        (("--at", later(366)), "is more than 365 days away"),
        (("--at", "2030-01-01"), "has no time zone"),
        (("--at", "tomorrow"), "is not a time such as 2026-12-24T18:00Z"),
    ],
)
def test_a_time_that_cannot_be_is_one_line_and_publishes_nothing(
    cli: Cli, server: Server, options: tuple[str, ...], reason: str
) -> None:
    done = cli("pub", "image-download", EVENT, *options)

    assert done.code == 2
    assert reason in " ".join(done.stderr.replace("│", " ").split())
    assert server.count("image-download") == 0
    assert cli("schedules", "ls", "--json").json == []


def test_an_event_that_is_cancelled_is_never_published(cli: Cli, server: Server) -> None:
    cli("pub", "image-download", EVENT, "--in", "3s")
    [waiting] = cli("schedules", "ls", "--json").json
    cli("pub", "image-downloaded", EVENT, "--in", "4s")

    assert cli("schedules", "cancel", waiting["key"]).code == 2, "it asks, and there is no terminal"
    done = cli("schedules", "cancel", waiting["key"][:12], "--yes")

    assert (done.code, done.stderr) == (0, "cancelled\n")
    wait_until(lambda: server.count("image-downloaded"))
    assert server.count("image-download") == 0


def test_a_key_that_names_no_event_or_several_is_one_line(cli: Cli, server: Server) -> None:
    del server
    cli("pub", "image-download", "--file", "-", "--in", "1h", input="https://a\nhttps://b\n")

    none, several = cli("schedules", "cancel", "x", "--yes"), cli("schedules", "cancel", "", "--yes")

    assert (none.code, several.code) == (2, 2)
    assert none.stderr == "keda-jobs: no event waits under 'x': see `keda-jobs schedules ls`\n"
    assert several.stderr == "keda-jobs: 2 events wait under '': write more of the key\n"


def test_whatever_a_sender_stored_is_listed(cli: Cli, server: Server) -> None:
    server.publish("delay.wait.sent.1", b"\xff")
    headers = {"Nats-Schedule": "@every 1h", "Nats-Schedule-Target": "delay.fire.x\x1b[31m"}
    server.publish("delay.wait.sent.2", b"{}", headers | {"Nats-Schedule-Target": "delay.fire.x"})

    done = cli("schedules", "ls")

    assert done.code == 0
    assert "@every 1h" in done.stdout
    assert done.stderr == "2 events\n"


def test_a_schedule_of_a_job_toml_is_listed_with_job_name_and_rule(cli: Cli, server: Server) -> None:
    for job in ("image-download", "image-resize"):
        declare(server, job, "nightly")

    done = cli("schedules", "ls")

    assert "image-resize.nightly" in done.stdout
    assert "0 30 2 * * * Europe/Berlin" in done.stdout
    [first, _] = cli("schedules", "ls", "--json").json
    assert {name: first[name] for name in ("key", "subject", "when", "timezone", "due", "sender")} == {
        "key": "image-download.nightly",
        "subject": "image-download",
        "when": "0 30 2 * * *",
        "timezone": "Europe/Berlin",
        "due": None,
        "sender": "declared",
    }


def test_a_schedule_of_a_job_toml_is_cancelled_by_its_whole_key(cli: Cli, server: Server) -> None:
    for name in ("night", "nightly"):
        declare(server, "image-download", name)

    done = cli("schedules", "cancel", "image-download.night", "--yes")

    note = "until the next `streams apply`, unless jobs/image-download/job.toml loses it too"
    assert (done.code, done.stderr) == (0, f"cancelled {note}\n")
    [left] = cli("schedules", "ls", "--json").json
    assert left["key"] == "image-download.nightly"


def declare(server: Server, job: str, name: str) -> None:
    """Store what `streams apply` makes of a job.toml."""
    headers = {"Nats-Schedule": "0 30 2 * * *", "Nats-Schedule-Time-Zone": "Europe/Berlin"}
    server.publish(f"delay.wait.declared.{job}.{name}", b"{}", headers | {"Nats-Schedule-Target": f"delay.fire.{job}"})
