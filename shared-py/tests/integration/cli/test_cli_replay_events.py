"""`keda-jobs replay`: events of the stream go to one job again, whatever became of them."""

from __future__ import annotations

import json
import shlex
import signal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keda_jobs.jetstream.rerun import Condition
from stack import NatsServer

from .conftest import STREAM, Cli, Server

JOB = "image-download"
DUE = "retry.due.image-download"


def publish(server: Server, *names: str, **headers: str) -> list[int]:
    return [server.publish(JOB, json.dumps({"url": f"http://a/{name}"}).encode(), headers) for name in names]


def deliver(server: Server) -> None:
    """Give the job all there is, as if it had worked on it."""

    async def take(client: Any) -> None:
        jetstream = client.jetstream()
        consumer = await jetstream.pull_subscribe_bind(f"{JOB}-consumer", stream=STREAM)
        while (await jetstream.consumer_info(STREAM, f"{JOB}-consumer")).num_pending:
            for message in await consumer.fetch(100):
                await message.ack_sync()

    server.do(take)


def names(server: Server) -> list[str]:
    """Return what the job got again, in its order."""
    return [json.loads(message.data or b"")["url"].removeprefix("http://a/") for message in server.stored(DUE)]


def wait_for(server: Server, *expected: str) -> None:
    server.wait_for(lambda: server.count(DUE) >= len(expected))
    assert names(server) == list(expected)


def test_a_range_goes_to_the_job_again_as_new_events_in_order(cli: Cli, server: Server) -> None:
    first, second, _ = publish(server, "1", "2", "3", Trace="t1")
    deliver(server)
    done = cli("replay", JOB, "--from-seq", str(second), "--yes")
    assert done.code == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "2 of 2 events sent"
    wait_for(server, "2", "3")
    headers = dict(server.stored(DUE)[0].headers or {})
    assert (headers["Keda-Jobs-Subject"], headers["Trace"]) == (JOB, "t1")
    assert "Keda-Jobs-Attempt" not in headers
    assert "Keda-Jobs-Id" not in headers
    assert cli("replay", JOB, "--from-seq", str(first), "--to-seq", str(second), "--yes").code == 0
    wait_for(server, "2", "3", "1", "2")


def test_what_the_job_has_not_got_yet_is_left_out(cli: Cli, server: Server) -> None:
    publish(server, "1")
    deliver(server)
    publish(server, "2")
    assert cli("replay", JOB, "--since", "1h", "--yes").code == 0
    wait_for(server, "1")


def test_conditions_and_time_choose_events(cli: Cli, server: Server) -> None:
    publish(server, "a.png", "b.jpg", "b.png")
    server.publish(JOB, b"not json")
    deliver(server)

    def count(*words: str) -> int:
        return int(cli("replay", JOB, "--dry-run", "--json", *words).json["found"])

    assert count("--since", "1d") == 4
    assert count("--since", "1d", "--where", "url~.png") == 2
    assert count("--since", "1d", "--where", "url~.png", "--where", "url~/b") == 1
    assert count("--since", "1d", "--where", "url=http://a/b.jpg") == 1
    assert count("--since", "1d", "--where", "missing~") == 0
    assert count("--since", "1ms") in (0, 4)
    assert count("--from-seq", "999999") == 0
    assert server.count(DUE) == 0


def test_only_events_with_a_dead_letter_of_that_job_are_chosen(cli: Cli, server: Server) -> None:
    publish(server, "fine")
    server.bury([b'{"url": "http://a/dead"}'])
    deliver(server)
    done = cli("replay", JOB, "--since", "1h", "--outcome", "dead", "--yes", "--json")
    assert (done.json["found"], done.json["sent"], done.json["next_seq"]) == (1, 1, None)
    wait_for(server, "dead")
    assert server.count("dead-letter") == 1


def test_it_counts_first_and_asks(cli: Cli, server: Server) -> None:
    publish(server, "1")
    deliver(server)
    done = cli("replay", JOB, "--since", "1h")
    assert done.code == 2
    assert done.stderr.startswith("1 event of image-download, 21 bytes, ")
    assert done.stderr.splitlines()[1].endswith("stdin is not a terminal, pass --yes")
    assert server.count(DUE) == 0


def test_ctrl_c_ends_it_and_the_printed_command_does_the_rest(cli: Cli, server: Server) -> None:
    expected = [str(number) for number in range(40)]
    publish(server, *expected)
    deliver(server)
    process = cli.start("replay", JOB, "--since", "1h", "--where", "url~http://a", "--rate", "20", "--yes")
    server.wait_for(lambda: server.count(DUE) >= 3)
    process.send_signal(signal.SIGINT)
    done = cli.finish(process)
    assert done.code == 130
    command = shlex.split(done.stderr.splitlines()[-1].partition("to continue: ")[2])
    assert command[:3] == ["keda-jobs", "replay", JOB]
    assert cli(*command[1:], "--yes").code == 0
    wait_for(server, *expected)


def test_a_server_that_goes_away_leaves_the_command_to_continue(
    cli: Cli, server: Server, nats_server: NatsServer
) -> None:
    publish(server, *map(str, range(40)))
    deliver(server)
    process = cli.start("replay", JOB, "--since", "1h", "--rate", "20", "--yes")
    server.wait_for(lambda: server.count(DUE) >= 3)
    nats_server.kill()
    done = cli.finish(process)
    assert done.code == 1
    assert "\ninterrupted, to continue: keda-jobs replay image-download --from-seq " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((JOB,), "keda-jobs: say which events: --since 2d, or --from-seq SEQ"),
        ((JOB, "--since", "1h", "--from-seq", "1"), "keda-jobs: say which events: --since 2d, or --from-seq SEQ"),
        (("nobody", "--since", "1h"), "keda-jobs: there is no job nobody here: no consumer is called nobody-consumer"),
        (("", "--since", "1h"), "keda-jobs: there is no job here"),
    ],
)
def test_a_mistake_is_one_line(cli: Cli, server: Server, words: tuple[str, ...], line: str) -> None:
    done = cli("replay", *words)
    assert done.code in (1, 2)
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "url", "~png", "=x"])
def test_a_condition_without_field_or_sign_is_refused(cli: Cli, text: str) -> None:
    done = cli("replay", JOB, "--since", "1h", "--where", text)
    assert done.code == 2
    assert "is no condition such as url~png" in " ".join(done.stderr.split())


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists))
def test_any_value_is_itself_and_contains_itself(value: object) -> None:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    event = {"deep": {"field": value}, "deep.field": "other"}
    assert Condition.parse(f"deep.field={text}").matches(event)
    assert Condition.parse(f"deep.field~{text}").matches(event)
    assert not Condition.parse(f"deep.field={text}x").matches(event)
    assert not Condition.parse(f"deep.other~{text}").matches(event)
