"""`keda-jobs pub`: everything it reports as published is stored."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from stack import NatsServer

from .conftest import STREAM, Cli, Server


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
    assert set(done.json) == {"subject", "published", "seconds", "interrupted"}


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


def test_ctrl_c_reports_what_is_stored(cli: Cli, server: Server, tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("".join(f"https://a/{number}.jpg\n" for number in range(200_000)))
    pub = cli.start("pub", "image-download", "--file", str(tmp_path / "urls.txt"), "--json")
    server.wait_for(lambda: server.count("image-download") >= 500)

    pub.send_signal(signal.SIGINT)
    done = cli.finish(pub)

    assert done.code == 130
    assert done.json["interrupted"] is True
    assert done.json["published"] == server.count("image-download")
