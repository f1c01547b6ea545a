"""Whatever stdout and stderr are and can encode, a command ends without a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Cli, Server

# Text, a table, an event's own text, JSON, and messages on stderr.
COMMANDS = [
    ("--help",),
    ("dlq", "ls"),
    ("dlq", "show", "{sequence}"),
    ("dlq", "replay", "--all", "--dry-run", "--json"),
    ("dlq", "nonsense"),
]
EVENT = '{"url": "http://a/é€😀\\u0000.jpg"}'.encode()


# One process reads the modules, and has a child for each command.
DRIVER = """
import json, os, sys
from keda_jobs.cli import main
codes = []
for arguments in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        sys.argv = ["keda-jobs", *arguments]
        main()
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
with open(sys.argv[2], "w") as file:
    json.dump(codes, file)
"""

RunAll = Callable[..., str]


@pytest.fixture
def run_all(cli: Cli, server: Server, tmp_path: Path) -> RunAll:
    """Return a function that runs all commands in a shell, checks their exit codes, and returns their stderr."""
    (sequence, *_) = server.bury([EVENT, b"\xff"], headers={"Trace": "é€"})
    commands = json.dumps([[part.format(sequence=sequence) for part in command] for command in COMMANDS])
    codes = tmp_path / "codes.json"

    def run(redirection: str, expected: set[int], **environment: str) -> str:
        done = subprocess.run(
            ["bash", "-c", f'"$@" {redirection}', "bash", sys.executable, "-c", DRIVER, commands, str(codes)],
            env=os.environ | cli.environment | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=300,
            check=False,
        )
        stderr = done.stderr.decode(errors="replace")
        *ended, nonsense = json.loads(codes.read_text())
        assert set(ended) <= expected, stderr
        assert nonsense in (1, 2)
        assert "Traceback" not in stderr
        assert "Exception ignored" not in stderr
        return stderr

    return run


def test_a_full_disk_is_one_line(run_all: RunAll) -> None:
    lines = run_all(">/dev/full", {1}).splitlines()

    assert lines.count("keda-jobs: the output: No space left on device") == len(COMMANDS) - 1


@pytest.mark.parametrize("redirection", ["| true", "2>&1 | true"])
def test_a_closed_pipe_ends_in_silence(run_all: RunAll, redirection: str) -> None:
    run_all(redirection, {0, 1})


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_trouble(run_all: RunAll, redirection: str) -> None:
    run_all(redirection, {0})


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "ascii:strict", "utf-8:strict"])
def test_any_encoding_is_no_trouble(run_all: RunAll, encoding: str) -> None:
    run_all("", {0}, PYTHONIOENCODING=encoding)


def test_the_locale_c_is_no_trouble(run_all: RunAll) -> None:
    run_all("", {0}, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")


def test_a_full_stderr_stops_no_work(cli: Cli, server: Server) -> None:
    server.bury([b"{}"] * 5)
    with Path("/dev/full").open("wb") as full:
        arguments = [sys.executable, "-m", "keda_jobs.cli", "dlq", "replay", "--all"]
        done = subprocess.run(arguments, env=os.environ | cli.environment, stderr=full, check=False)

    assert done.returncode == 0
    assert server.count("dead-letter") == 0
