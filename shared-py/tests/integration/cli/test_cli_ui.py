"""Start of `keda-jobs ui`: what it cannot use is one line that says what to do."""

from __future__ import annotations

import importlib.util
import socket
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from .conftest import Cli


def test_a_port_in_use_is_one_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        done = cli("ui", "--port", str(port))

    assert done.code == 2
    assert f"127.0.0.1:{port} cannot be used" in done.stderr
    assert done.stderr.endswith("choose another port with --port\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "cannot be read: it is not text"),
        (b"short\n", "the token has 5 characters, at least 16 are needed"),
    ],
)
def test_a_bad_token_file_is_one_line(cli: Cli, tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)

    done = cli("ui", "--port", "0", "--token-file", str(file))

    assert done.code == 2
    assert reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_beyond_loopback_it_does_not_start_without_a_token(cli: Cli) -> None:
    done = cli("ui", "--port", "0", "--listen", "0.0.0.0")

    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "refusing to listen on 0.0.0.0 without a token: pass --token-file" in done.stderr


def test_a_missing_extra_is_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_jinja(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "jinja2" else find_spec(name, package)

    monkeypatch.setattr("keda_jobs.cli.ui.find_spec", without_jinja)

    done = cli("ui", "--port", "0")

    assert done.code == 2
    assert done.stderr.endswith("pip install 'keda-jobs[ui]'\n")
    assert done.stderr.count("\n") == 1
