"""`keda-jobs pub`: everything it reports as published is stored."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import signal
from collections import Counter
from pathlib import Path

import pytest

from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.reader import read_all
from keda_jobs.settings import NatsSettings
from stack import NatsServer

from .conftest import STREAM, Cli, Outcome, Server


def stored(server: Server) -> list[bytes | None]:
    return [message.data for message in server.stored("image-download")]


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ('{"url": "http://a/é.jpg"}', '{"url": "http://a/é.jpg"}'),
        ("https://a/b.jpg", '{"url": "https://a/b.jpg"}'),
        ('\n{\n "url": "http://a/1"\n}\n', '{\n "url": "http://a/1"\n}'),
    ],
)
def test_one_event(cli: Cli, server: Server, text: str, body: str) -> None:
    done = cli("pub", "image-download", text, "--json")
    piped = cli("pub", "image-download", "-", input=text)

    assert (done.code, piped.code) == (0, 0)
    assert stored(server) == [body.encode()] * 2
    assert done.json["published"] == 1
    assert set(done.json) == {"subject", "published", "seconds", "interrupted", "due"}


@pytest.mark.parametrize("text", ["nonsense", "[1]", '{"a": NaN}', '{"a": 1, "a": 2}', "{", "ftp://a/b", ""])
def test_an_invalid_event_is_refused_in_one_line(cli: Cli, server: Server, text: str) -> None:
    done = cli("pub", "image-download", text)

    assert done.code == 1
    assert done.stderr.count("\n") == 1
    assert stored(server) == []


FILE = """\ufeffhttps://a/1.jpg

# a comment
{"url": "https://a/2.jpg"}\r
  https://a/3.jpg
https://a/4.jpg"""
BODIES = [b'{"url": "https://a/%d.jpg"}' % number for number in (1, 2, 3, 4)]


def test_a_file_has_one_event_per_line(cli: Cli, server: Server, tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text(FILE, newline="")

    done = cli("pub", "image-download", "--file", str(tmp_path / "urls.txt"))

    assert done.code == 0
    assert done.stderr.startswith("4 of 4 published to image-download in ")
    assert stored(server) == BODIES


def test_a_file_from_stdin(cli: Cli, server: Server) -> None:
    assert cli("pub", "image-download", "--file", "-", input=FILE).code == 0
    assert stored(server) == BODIES


def test_many_lines_are_all_stored(cli: Cli, server: Server, tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("".join(f"https://a/{number}.jpg\n" for number in range(3000)))

    done = cli("pub", "image-download", "--file", str(tmp_path / "urls.txt"), "--json")

    assert done.json["published"] == 3000
    state = server.api(f"STREAM.INFO.{STREAM}")["state"]
    assert state["messages"] == 3000


def test_wrong_lines_are_named_and_nothing_is_published(cli: Cli, server: Server, tmp_path: Path) -> None:
    limit = 1024 * 1024
    lines = ["https://a/1.jpg", "nonsense", '{"a": NaN}', '{"url": "' + "x" * limit + '"}', "https://a/2.jpg", "{"]
    (tmp_path / "urls.txt").write_text("\n".join(lines))

    done = cli("pub", "image-download", "--file", str(tmp_path / "urls.txt"))

    assert done.code == 1
    assert stored(server) == []
    (line,) = done.stderr.splitlines()
    assert line.startswith("keda-jobs: nothing was published; line 2: neither a JSON object nor an http(s) URL; ")
    for part in ("line 3: NaN is not JSON", "line 4: longer than the", "line 6: not JSON"):
        assert part in line
    assert "line 5" not in line


def test_only_the_first_of_many_wrong_lines_are_named(cli: Cli, server: Server) -> None:
    del server
    done = cli("pub", "image-download", "--file", "-", input="nonsense\n" * 50)

    assert "line 20: " in done.stderr
    assert "line 21: " not in done.stderr
    assert "and 30 more" in done.stderr


def test_a_missing_file_is_named(cli: Cli, tmp_path: Path) -> None:
    done = cli("pub", "image-download", "--file", str(tmp_path / "none.txt"))

    assert done.code == 2
    assert done.stderr == f"keda-jobs: {tmp_path / 'none.txt'}: No such file or directory\n"


@pytest.mark.parametrize(
    "arguments", [("image-download",), ("image-download", "{}", "--file", "-"), ("a b", "{}"), ("a.>", "{}")]
)
def test_wrong_arguments(cli: Cli, arguments: tuple[str, ...]) -> None:
    done = cli("pub", *arguments)

    assert done.code == 2
    assert done.stderr.count("\n") == 1


def test_a_subject_that_no_stream_takes(cli: Cli, server: Server) -> None:
    del server
    done = cli("pub", "image-dwonload", "{}")

    assert done.code == 1
    assert done.stderr == (
        "keda-jobs: no stream takes the subject image-dwonload; see jobs/stream.json and `keda-jobs streams apply`\n"
    )


def test_a_subject_of_another_stream(cli: Cli, server: Server) -> None:
    server.api("STREAM.CREATE.other", {"name": "other", "subjects": ["other.>"]})

    done = cli("pub", "other.thing", "{}")

    assert done.code == 1
    assert done.stderr == f"keda-jobs: the subject other.thing belongs to another stream than {STREAM}\n"
    assert server.api("STREAM.INFO.other")["state"]["messages"] == 0


def test_an_event_larger_than_the_server_takes(cli: Cli, server: Server) -> None:
    done = cli("pub", "image-download", "-", input='{"url": "' + "x" * 1024 * 1024 + '"}')

    assert done.code == 1
    assert re.fullmatch(r"keda-jobs: 10486\d\d bytes for image-download; the server takes 1048576\n", done.stderr)
    assert stored(server) == []


def test_a_full_stream(cli: Cli, tmp_path: Path) -> None:
    full = NatsServer(tmp_path / "full", extra="")
    full.start()
    try:
        server = Server(full.url)
        config = {"name": STREAM, "subjects": ["image-download"], "max_msgs": 10, "discard": "new"}
        server.api(f"STREAM.CREATE.{STREAM}", config)
        done = cli("pub", "image-download", "-s", full.url, "--file", "-", input="https://a/1\n" * 500)
        assert server.count("image-download") == 10
    finally:
        full.kill()
    summary, error = done.stderr.splitlines()
    assert done.code == 1
    assert summary.startswith("10 of 500 published")
    assert error == "keda-jobs: NATS refuses image-download: maximum messages exceeded"


def urls(path: Path, count: int) -> Path:
    path.write_text("# pictures\n" + "".join(f"https://a/{number}.jpg\n" for number in range(count)))
    return path


def all_bodies(server: Server) -> set[bytes]:
    async def read() -> set[bytes]:
        async with connect(NatsSettings(nats_url=server.url), name="test", wait=False) as connection:
            return {message.data async for message in read_all(connection, "image-download")}

    return asyncio.run(read())


def go_on(cli: Cli, done: Outcome) -> Outcome:
    """Run the command that the summary names."""
    summary = next(line for line in done.stderr.splitlines() if "to publish the rest: " in line)
    keda_jobs, *arguments = shlex.split(summary.partition("to publish the rest: ")[2])
    assert keda_jobs == "keda-jobs"
    return cli(*arguments, "--json")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_a_signal_a_second_run_publishes_the_rest(
    cli: Cli, server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    pub = cli.start("pub", "image-download", "--file", str(urls(tmp_path / "the urls.txt", 5_000)))
    server.wait_for(lambda: server.count("image-download") >= 100)

    pub.send_signal(number)
    done = cli.finish(pub)

    assert done.code == 130
    published = int(done.stderr.splitlines()[-1].split()[0])
    assert published == server.count("image-download") < 5_000
    assert f", all up to line {published + 1}; interrupted; to publish the rest: " in done.stderr

    assert go_on(cli, done).json["lines_left"] == ""
    assert server.count("image-download") == 5_000


def test_a_signal_ends_it_while_the_server_does_not_answer(
    cli: Cli, server: Server, nats_server: NatsServer, tmp_path: Path
) -> None:
    pub = cli.start("pub", "image-download", "--file", str(urls(tmp_path / "urls.txt", 5_000)), "--json")
    server.wait_for(lambda: server.count("image-download") >= 100)
    nats_server.signal(signal.SIGSTOP)
    try:
        pub.send_signal(signal.SIGINT)
        assert pub.stdout is not None
        counts = json.loads("".join(iter(pub.stdout.readline, "}\n")) + "}")
    finally:
        nats_server.signal(signal.SIGCONT)
    assert cli.finish(pub).code == 130

    assert counts["interrupted"] is True
    done = cli("pub", "image-download", "--file", str(tmp_path / "urls.txt"), "--lines", counts["lines_left"])
    assert done.code == 0
    assert all_bodies(server) == {b'{"url": "https://a/%d.jpg"}' % number for number in range(5_000)}


def test_a_signal_before_the_first_event_says_that_none_is_published(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    pub = cli.start("pub", "image-download", "--file", str(tmp_path / "fifo"))
    with (tmp_path / "fifo").open("wb"):
        pub.send_signal(signal.SIGINT)
        done = cli.finish(pub)

    assert done.code == 130
    assert done.stderr.startswith("0 of the events published to image-download in 0.0 s; interrupted; to publish ")
    assert done.stderr.endswith(f"keda-jobs pub image-download --file {tmp_path / 'fifo'} --lines 1-\n")


def test_after_a_refused_line_a_second_run_publishes_the_rest(cli: Cli, tmp_path: Path) -> None:
    small = NatsServer(tmp_path / "small", extra="")
    small.start()
    try:
        server = Server(small.url)
        cli.environment["NATS_URL"] = small.url
        config = {"name": STREAM, "subjects": ["image-download"], "max_msg_size": 300}
        server.api(f"STREAM.CREATE.{STREAM}", config)
        lines = [f"https://a/{number}.jpg" for number in range(1000)]
        lines[456] += "x" * 300
        (tmp_path / "urls.txt").write_text("\n".join(lines))

        done = cli("pub", "image-download", "--file", str(tmp_path / "urls.txt"))
        assert done.code == 1
        assert ", all up to line 456; to publish the rest: " in done.stderr
        assert done.stderr.splitlines()[-1].startswith("keda-jobs: ")

        lines[456] = "https://a/456.jpg"
        (tmp_path / "urls.txt").write_text("\n".join(lines))
        assert go_on(cli, done).code == 0
        assert Counter(stored(server)) == Counter(b'{"url": "https://a/%d.jpg"}' % number for number in range(1000))
    finally:
        small.kill()


@pytest.mark.parametrize(
    ("lines", "numbers"), [("1", [1]), ("2-3", [2, 3]), ("1,3-", [1, 3, 4]), ("3-,1-2", [1, 2, 3, 4]), ("9-", [])]
)
def test_only_some_lines(cli: Cli, server: Server, lines: str, numbers: list[int]) -> None:
    text = "".join(f"https://a/{number}.jpg\n" for number in (1, 2, 3, 4))

    assert cli("pub", "image-download", "--file", "-", "--lines", lines, input=text).code == 0

    assert stored(server) == [BODIES[number - 1] for number in numbers]
