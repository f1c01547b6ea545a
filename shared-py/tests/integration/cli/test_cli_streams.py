"""`keda-jobs streams apply` as an operator and a script see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keda_jobs.jetstream.declaration import delayed_source
from stack import wait_until
from stack.jobs import ROOT

from .conftest import STREAM, Cli, Server

SOURCED = ("stream-delayed.json", "stream-retries.json")
DECLARED = json.loads((ROOT / "jobs/stream.json").read_text())
SUBJECTS = ["image-download", "dead-letter"]
STREAM_JSON = DECLARED | {"subjects": SUBJECTS, "sources": [DECLARED["sources"][0], delayed_source(SUBJECTS)]}
CONSUMER_JSON = {
    "durable_name": "image-download-consumer",
    "ack_policy": "explicit",
    "filter_subjects": ["image-download", "retry.due.image-download"],
}


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "repository" / "jobs"
    (folder / "image-download").mkdir(parents=True)
    (folder / "stream.json").write_text(json.dumps(STREAM_JSON))
    for name in SOURCED:
        (folder / name).write_text((ROOT / "jobs" / name).read_text())
    (folder / "image-download" / "consumer.json").write_text(json.dumps(CONSUMER_JSON))
    return folder


def test_it_shows_its_changes_and_then_that_nothing_is_left(cli: Cli, bare_server: Server, jobs: Path) -> None:
    first = cli("streams", "apply", "--jobs", str(jobs))
    second = cli("streams", "apply", "--jobs", str(jobs))

    streams = ("stream keda-jobs-delayed", "stream keda-jobs-retries", f"stream {STREAM}")
    names = (*streams, "consumer image-download-consumer")
    assert (first.code, first.stdout) == (0, "".join(f"+ {name}\n" for name in names))
    assert second.stdout == "".join(f"= {name}\n" for name in names) + "nothing to change\n"
    assert bare_server.count(">") == 0


def test_the_nearest_jobs_folder_upward_is_used(
    cli: Cli, bare_server: Server, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(jobs / "image-download")

    assert cli("streams", "apply").code == 0
    assert bare_server.api(f"STREAM.INFO.{STREAM}")["config"]["name"] == STREAM


def test_without_a_jobs_folder_it_says_so(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    done = cli("streams", "apply")

    assert done.code == 2
    assert done.stderr == f"keda-jobs: no jobs/stream.json in {tmp_path} or above it; name the folder with --jobs\n"


def test_dry_run_changes_nothing(cli: Cli, bare_server: Server, jobs: Path) -> None:
    done = cli("streams", "apply", "--dry-run", "--jobs", str(jobs))

    assert done.stdout.splitlines()[-1] == "nothing was changed"
    assert bare_server.api(f"STREAM.INFO.{STREAM}")["error"]["err_code"] == 10059


def test_json_has_the_documented_keys(cli: Cli, server: Server, jobs: Path) -> None:
    del server
    (jobs / "stream.json").write_text(json.dumps(DECLARED | {"max_age": 2 * 1209600000000000}))

    delayed, retries, stream, consumer, *undeclared = cli("streams", "apply", "--json", "--jobs", str(jobs)).json[
        "changes"
    ]

    assert (delayed["action"], delayed["name"]) == ("same", "keda-jobs-delayed")
    assert (retries["action"], retries["name"]) == ("same", "keda-jobs-retries")
    assert stream == {
        "action": "update",
        "kind": "stream",
        "name": STREAM,
        "fields": [{"key": "max_age", "before": 1209600000000000, "after": 2 * 1209600000000000}],
        "refusals": [],
        "losses": [],
    }
    assert (consumer["action"], consumer["name"]) == ("same", "image-download-consumer")
    assert {one["action"] for one in undeclared} == {"undeclared"}
    assert "image-resize-consumer" in [one["name"] for one in undeclared]


def test_a_refused_change_shows_the_difference_and_one_line(cli: Cli, bare_server: Server, jobs: Path) -> None:
    cli("streams", "apply", "--jobs", str(jobs))
    (jobs / "stream.json").write_text(json.dumps(STREAM_JSON | {"max_age": 7 * 86_400 * 10**9}))

    done = cli("streams", "apply", "--jobs", str(jobs))

    assert done.code == 2
    assert f"~ stream {STREAM}: max_age 14d → 7d" in done.stdout
    assert done.stderr == (
        f"keda-jobs: nothing was applied: stream {STREAM}: max_age 14d → 7d deletes 0 of 0 messages; "
        "to do it anyway, pass --allow-loss\n"
    )
    assert bare_server.api(f"STREAM.INFO.{STREAM}")["config"]["max_age"] == STREAM_JSON["max_age"]


def test_a_lower_limit_is_applied_where_a_loss_is_allowed(cli: Cli, bare_server: Server, jobs: Path) -> None:
    cli("streams", "apply", "--jobs", str(jobs))
    (jobs / "stream.json").write_text(json.dumps(STREAM_JSON | {"max_age": 7 * 86_400 * 10**9}))

    done = cli("streams", "apply", "--allow-loss", "--jobs", str(jobs))

    assert (done.code, done.stderr) == (0, f"stream {STREAM}: max_age 14d → 7d deletes 0 of 0 messages\n")
    assert bare_server.api(f"STREAM.INFO.{STREAM}")["config"]["max_age"] == 7 * 86_400 * 10**9


def test_a_wrong_declaration_reaches_no_server(cli: Cli, bare_server: Server, jobs: Path) -> None:
    (jobs / "image-download" / "consumer.json").write_text(json.dumps(CONSUMER_JSON | {"filter_subjects": ["retry.>"]}))

    done = cli("streams", "apply", "--jobs", str(jobs))

    assert done.code == 2
    assert "image-download/consumer.json: " in done.stderr
    assert bare_server.api(f"STREAM.INFO.{STREAM}")["error"]["err_code"] == 10059


@pytest.mark.parametrize("exists", [False, True], ids=["created", "updated"])
def test_a_single_server_refuses_three_replicas_in_one_line(
    cli: Cli, bare_server: Server, jobs: Path, exists: bool
) -> None:
    verb = "UPDATE" if exists else "CREATE"
    if exists:
        cli("streams", "apply", "--jobs", str(jobs))

    done = cli("streams", "apply", "--jobs", str(jobs), "--replicas", "3")

    assert done.code == 1
    reason = "replicas > 1 not supported in non-clustered mode"
    assert done.stderr == f"keda-jobs: NATS refuses STREAM.{verb}.keda-jobs-delayed: {reason}\n"


@pytest.mark.parametrize("number", ["0", "6", "three"])
def test_an_impossible_number_of_replicas_is_refused(cli: Cli, jobs: Path, number: str) -> None:
    done = cli("streams", "apply", "--jobs", str(jobs), "--replicas", number)

    assert done.code == 2
    assert "--replicas" in done.stderr


def test_streams_are_shown_with_their_subjects_and_waiting_retries_as_one(cli: Cli, server: Server) -> None:
    server.publish("image-download", b"{}")
    for number in range(3):
        server.publish(f"retry.wait.image-download.{number}", b"{}")

    server.publish("delay.wait.sent.1", b"{}")

    events, retries, delayed = cli("streams", "show", "--json").json

    assert (events["name"], events["subjects"]) == (STREAM, {"image-download": 1})
    assert (retries["messages"], retries["subjects"]) == (3, {"retry.wait.>": 3})
    assert (delayed["messages"], delayed["subjects"]) == (1, {"delay.wait.>": 1})
    assert (events["leader"], events["replicas"]) == ("", [])
    assert f"{STREAM}: 1 message" in cli("streams", "show").stdout


def test_what_fires_before_nats_has_set_up_a_source_arrives(cli: Cli, bare_server: Server, jobs: Path) -> None:
    """On a stream whose first messages are gone NATS begins with the newest event, unless told where."""
    bare_server.api(f"STREAM.CREATE.{STREAM}", STREAM_JSON | {"sources": []})
    for _ in range(2):
        bare_server.publish("image-download", b"{}")
    bare_server.api(f"STREAM.PURGE.{STREAM}")
    for file, subject in zip(SOURCED, ("delay.fire.image-download", "retry.fire.image-download"), strict=True):
        stream = json.loads((jobs / file).read_text())
        bare_server.api(f"STREAM.CREATE.{stream['name']}", stream)
        bare_server.publish(subject, b"{}")
    bare_server.publish("image-download", b"{}")

    assert cli("streams", "apply", "--jobs", str(jobs)).code == 0
    wait_until(lambda: (bare_server.count("image-download"), bare_server.count("retry.due.image-download")) == (2, 1))
