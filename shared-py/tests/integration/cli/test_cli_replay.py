"""`keda-jobs dlq replay`: every dead letter is replayed exactly once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from typing import Any

import pytest
from nats.aio.client import Client

from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.dead_letters import find_dead_letter
from keda_jobs.jetstream.publish import publish_with_retry
from keda_jobs.jetstream.replay import replay_message
from keda_jobs.settings import NatsSettings
from stack import NatsServer

from .conftest import STREAM, Cli, Outcome, Server

FIRE = "retry.fire.image-download"
DUE = "retry.due.image-download"
MANY = 600


def numbered(count: int) -> list[bytes]:
    return [b'{"url":"http://a/%d.jpg"}' % number for number in range(count)]


def bodies(server: Server, subject: str) -> Counter[bytes]:
    return Counter(message.data or b"" for message in server.stored(subject))


def wait_until_replayed(server: Server, count: int) -> None:
    server.wait_for(lambda: server.count(DUE) >= count)


def wait_until_sourced(server: Server) -> None:
    """Wait until every copy that the retries stream took is in the stream of events."""
    server.wait_for(lambda: server.api("STREAM.INFO.keda-jobs-retries")["state"]["messages"] == 0)


def replayed(server: Server, count: int) -> Counter[bytes]:
    """Return the replayed bodies, once there are `count`: they reach the events stream through another one."""
    wait_until_replayed(server, count)
    return bodies(server, DUE)


def test_a_dead_letter_returns_to_the_job_that_failed_as_a_new_event(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b'{"url": "http://a/1.jpg"}'], headers={"Trace": "t1"})

    done = cli("dlq", "replay", str(sequence))

    wait_until_replayed(server, 1)
    (message,) = server.stored(DUE)
    assert message.data == b'{"url": "http://a/1.jpg"}'
    headers = dict(message.headers or {})
    assert headers.pop("Nats-Stream-Source").startswith("keda-jobs-retries ")
    assert headers.pop("Nats-Msg-Id").startswith(f"replay-{sequence}-")
    assert headers == {"Trace": "t1", "Keda-Jobs-Subject": "image-download"}
    assert (done.code, done.stderr) == (0, "1 dead letter replayed\n")
    assert server.count("dead-letter") == 0
    assert server.count("image-download") == 1, "other consumers of the subject must not see it again"


def test_to_subject_sends_it_to_all_consumers_of_the_subject(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b'{"url":"http://a/1.jpg"}'])

    assert cli("dlq", "replay", str(sequence), "--to-subject").code == 0

    _first, again = server.stored("image-download")
    assert again.data == b'{"url":"http://a/1.jpg"}'
    assert "Keda-Jobs-Subject" not in (again.headers or {})
    assert (server.count(DUE), server.count("dead-letter")) == (0, 0)


def test_filters_select_the_dead_letters(cli: Cli, server: Server) -> None:
    server.bury(numbered(3))
    kept = server.bury([b"{}"], error_class="Timeout")

    done = cli("dlq", "replay", "--error-class", "NotFound", "--json")

    assert done.json == {"dry_run": False, "replayed": 3, "skipped": [], "interrupted": False}
    assert [message.seq for message in server.stored("dead-letter")] == kept


def test_dry_run_says_what_would_happen_and_does_nothing(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"])

    done = cli("dlq", "replay", "--all", "--dry-run")

    assert done.code == 0
    assert f"{sequence}: image-download, 2 bytes, to {FIRE}" in done.stderr
    assert (server.count(DUE), server.count("dead-letter")) == (0, 1)


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--to-subject"], ["--to-subject", "--dry-run"]])
def test_headers_that_cannot_be_stored_again_are_named(cli: Cli, server: Server, options: list[str]) -> None:
    (sequence,) = server.bury([b"{}"], headers={"Large": "x" * 60_000})

    done = cli("dlq", "replay", "--all", *options)

    assert done.code == 1
    assert f"skipped {sequence}: " in done.stderr
    assert "bytes of headers" in done.stderr
    assert server.count("dead-letter") == 1


def test_a_number_of_no_dead_letter_is_skipped_with_a_line(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"])

    done = cli("dlq", "replay", str(sequence), "4711", "--json")

    assert done.code == 1
    assert done.json["replayed"] == 1
    assert done.json["skipped"] == [{"sequence": 4711, "reason": "there is no such dead letter (any more)"}]
    assert "skipped 4711: there is no such dead letter" in done.stderr


def truncated(server: Server) -> tuple[bytes, int]:
    """Publish an event too large for its dead letter. Return it with the dead letter's number."""
    event = json.dumps({"url": "http://a/" + "x" * 1_048_200}).encode()
    (sequence,) = server.bury([event])
    (dead_letter,) = server.stored("dead-letter")
    assert (dead_letter.headers or {})["Keda-Jobs-Data"] == "truncated"
    return event, sequence


def test_truncated_data_is_read_whole_from_the_stream(cli: Cli, server: Server) -> None:
    event, sequence = truncated(server)

    assert cli("dlq", "replay", str(sequence)).code == 0

    assert replayed(server, 1) == Counter([event])
    assert server.count("dead-letter") == 0


def test_a_truncated_dead_letter_stays_when_its_event_has_expired(cli: Cli, server: Server) -> None:
    _event, sequence = truncated(server)
    server.api(f"STREAM.PURGE.{STREAM}", {"filter": "image-download"})

    done = cli("dlq", "replay", "--all")

    assert done.code == 1
    assert f"skipped {sequence}: it does not hold the exact event, and message" in done.stderr
    assert (server.count(DUE), server.count("dead-letter")) == (0, 1)


def test_a_truncated_dead_letter_stays_when_another_event_has_its_number(cli: Cli, server: Server) -> None:
    _event, _sequence = truncated(server)
    (dead_letter,) = server.stored("dead-letter")
    server.api(f"STREAM.PURGE.{STREAM}", {})
    other = server.publish("image-download", b"{}")
    headers = {name: value for name, value in (dead_letter.headers or {}).items() if not name.startswith("Nats-")}
    server.publish("dead-letter", dead_letter.data or b"", headers | {"Keda-Jobs-Sequence": str(other)})

    assert cli("dlq", "replay", "--all").code == 1
    assert (server.count(DUE), server.count("dead-letter")) == (0, 1)


def test_a_foreign_dead_letter_needs_to_subject(cli: Cli, server: Server) -> None:
    server.publish("dead-letter", b'{"subject": "image-download", "data": {"url": "u"}, "num_delivered": 3}')

    refused = cli("dlq", "replay", "--all")
    assert refused.code == 1
    assert "it names no job: replay it to all consumers of its subject with --to-subject" in refused.stderr
    assert server.count("dead-letter") == 1

    assert cli("dlq", "replay", "--all", "--to-subject").code == 0
    assert bodies(server, "image-download") == Counter([b'{"url": "u"}'])


@pytest.mark.parametrize(
    "subject",
    ["", "dead-letter", "retry.due.image-download", "retry.wait.x.1", "$JS.API.STREAM.LIST", "a b", "a.*", "a\r\nb"],
)
def test_a_dead_letter_cannot_choose_a_subject_that_is_not_an_events(cli: Cli, server: Server, subject: str) -> None:
    body = json.dumps({"subject": subject, "data": {}, "num_delivered": 1}).encode()
    server.publish("dead-letter", body, {"Keda-Jobs-Job": "image-download"})

    assert cli("dlq", "replay", "--all", "--to-subject").code == 1
    assert cli("dlq", "replay", "--all").code == 1
    assert server.count(">") == 1


def test_a_dead_letter_stays_when_no_consumer_would_read_its_copy(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"], job="image-gone")

    done = cli("dlq", "replay", "--all")

    assert done.code == 1
    assert f"skipped {sequence}: no consumer reads retry.due.image-gone" in done.stderr
    assert server.count("dead-letter") == 1


def test_events_that_die_again_meanwhile_are_left_for_the_next_run(cli: Cli, server: Server) -> None:
    # A job that fails at once must not keep one replay busy forever.
    server.bury(numbered(40))

    async def fail_again(client: Client) -> None:
        async def bury_again(msg: Any) -> None:
            dead_letter = json.dumps({"subject": "image-download", "data": {}, "num_delivered": 1}).encode()
            await client.publish("dead-letter", dead_letter, headers={"Keda-Jobs-Job": "image-download"})

        await client.subscribe(FIRE, cb=bury_again)
        await client.flush()
        replay = cli.start("dlq", "replay", "--all", "--json")
        done = await asyncio.to_thread(cli.finish, replay)
        await client.flush()
        assert json.loads(done.stdout)["replayed"] == 40

    server.do(fail_again)
    server.wait_for(lambda: server.count("dead-letter") == 40)


def publish_copy(server: Server, sequence: int, *, to_subject: bool = False) -> None:
    """Do what a replay does before kill -9 at the worst moment: published, not deleted."""

    async def publish() -> None:
        async with connect(NatsSettings(nats_url=server.url), name="test", wait=False) as connection:
            dead = await find_dead_letter(connection, sequence)
            assert dead is not None
            copy = replay_message(dead, dead.original or b"", dead.original_headers, to_subject=to_subject)
            await publish_with_retry(connection, copy)

    asyncio.run(publish())


def test_a_copy_whose_dead_letter_was_not_deleted_is_not_stored_twice(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"])
    publish_copy(server, sequence)

    assert cli("dlq", "replay", "--all").code == 0

    wait_until_sourced(server)
    assert (server.count(DUE), server.count("dead-letter")) == (1, 0)


def test_a_copy_to_all_consumers_is_stored_beside_one_for_the_job(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"])
    publish_copy(server, sequence)

    assert cli("dlq", "replay", "--all", "--to-subject").code == 0

    wait_until_replayed(server, 1)
    assert (server.count(DUE), server.count("image-download"), server.count("dead-letter")) == (1, 2, 0)


def test_an_id_that_a_publisher_can_guess_keeps_no_copy_out(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"])
    server.publish("image-download", b"forged", {"Nats-Msg-Id": f"replay:{sequence}"})

    assert cli("dlq", "replay", "--all", "--to-subject").code == 0

    assert bodies(server, "image-download") == Counter([b"{}", b"{}", b"forged"])


@pytest.mark.parametrize("body", [b"forged", b"{}"])
def test_an_id_that_a_publisher_knows_keeps_no_copy_out(cli: Cli, server: Server, body: bytes) -> None:
    """Of the same event with the same id, one is enough."""
    (sequence,) = server.bury([b"{}"])

    async def msg_id() -> str:
        async with connect(NatsSettings(nats_url=server.url), name="test", wait=False) as connection:
            dead = await find_dead_letter(connection, sequence)
            assert dead is not None
            return replay_message(dead, b"{}", {}, to_subject=True).msg_id

    server.publish("image-download", body, {"Nats-Msg-Id": asyncio.run(msg_id())})

    assert cli("dlq", "replay", "--all", "--to-subject").code == 0

    assert server.count("dead-letter") == 0
    assert bodies(server, "image-download") == Counter([b"{}", b"{}"]) + Counter([body] if body != b"{}" else [])


def test_two_operators_at_once_double_nothing(cli: Cli, server: Server) -> None:
    # The window in which the server drops a second copy is over when the slow one comes to it.
    for name in server.api("STREAM.NAMES")["streams"]:
        config = server.api(f"STREAM.INFO.{name}")["config"]
        server.api(f"STREAM.UPDATE.{name}", config | {"duplicate_window": 1_000_000_000})
    events = numbered(30)
    server.bury(events)
    slow = cli.start("dlq", "replay", "--all", "--rate", "10/s", "--json")
    wait_until_replayed(server, 2)

    fast = cli("dlq", "replay", "--all", "--json")
    done = cli.finish(slow)

    assert (fast.code, done.code) == (0, 0), fast.stderr + done.stderr
    wait_until_sourced(server)
    assert bodies(server, DUE) == Counter(events)
    assert server.count("dead-letter") == 0


def test_a_number_that_a_filter_excludes_is_skipped_with_a_line(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b"{}"])

    done = cli("dlq", "replay", str(sequence), "--job", "image-resize")

    assert done.code == 1
    assert done.stderr == f"skipped {sequence}: a filter excludes it\n0 dead letters replayed, 1 skipped\n"
    assert server.count("dead-letter") == 1


def test_the_rate_is_kept(cli: Cli, server: Server) -> None:
    server.bury(numbered(6))

    assert cli("dlq", "replay", "--all", "--rate", "20/s", "--to-subject").code == 0

    times = [message.time for message in server.stored("image-download")[-6:]]
    first, last = times[0], times[-1]
    assert first is not None
    assert last is not None
    assert (last - first).total_seconds() >= 0.9 * 5 / 20


@pytest.mark.parametrize("rate", ["0", "fast", "-1", "5/min"])
def test_an_invalid_rate_is_refused(cli: Cli, server: Server, rate: str) -> None:
    assert cli("dlq", "replay", "--all", "--rate", rate).code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_between_two_dead_letters(cli: Cli, server: Server, number: signal.Signals) -> None:
    events = numbered(MANY)
    server.bury(events)
    replay = cli.start("dlq", "replay", "--all", "--rate", "300/s", "--json")
    wait_until_replayed(server, 100)

    replay.send_signal(number)
    done = cli.finish(replay)

    count = done.json["replayed"]
    assert done.code == 130
    assert done.json["interrupted"] is True
    assert replayed(server, count).total() == count < MANY
    assert server.count("dead-letter") == MANY - count
    assert_the_rest_follows(cli, server, events)


def test_an_interrupted_replay_says_so(cli: Cli, server: Server) -> None:
    server.bury(numbered(50))
    replay = cli.start("dlq", "replay", "--all", "--rate", "10/s")
    wait_until_replayed(server, 2)

    replay.send_signal(signal.SIGINT)
    done = cli.finish(replay)

    count = 50 - server.count("dead-letter")
    assert done.stderr.splitlines()[-1] == f"{count} dead letters replayed; interrupted, run it again to continue"


@pytest.mark.slow
def test_kill_9_loses_and_doubles_nothing(cli: Cli, server: Server) -> None:
    events = numbered(MANY)
    server.bury(events)
    for already in (50, 200, 350):
        replay = cli.start("dlq", "replay", "--all")
        wait_until_replayed(server, already)
        replay.kill()
        replay.communicate()
        server.wait_for(lambda: server.count("dead-letter") + server.count(DUE) - MANY in (0, 1))

    assert_the_rest_follows(cli, server, events)


@pytest.mark.slow
def test_a_server_that_dies_meanwhile_loses_and_doubles_nothing(
    cli: Cli, server: Server, nats_server: NatsServer
) -> None:
    events = numbered(MANY)
    server.bury(events)
    replay = cli.start("dlq", "replay", "--all")
    wait_until_replayed(server, 100)

    nats_server.kill()
    done = cli.finish(replay)
    nats_server.start()

    assert_one_line_error(done)
    assert_the_rest_follows(cli, server, events)


def assert_one_line_error(done: Outcome) -> None:
    *progress, error = done.stderr.splitlines()
    assert done.code == 1
    assert error.startswith("keda-jobs: ")
    assert all("dead letters replayed" in line or line.startswith("replay: ") for line in progress)


def assert_the_rest_follows(cli: Cli, server: Server, events: list[bytes]) -> None:
    assert cli("dlq", "replay", "--all").code == 0
    assert replayed(server, len(events)) == Counter(events)
    assert server.count("dead-letter") == 0
