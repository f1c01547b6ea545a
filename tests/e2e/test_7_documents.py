"""What k8s/README.md says to type works as typed: its blocks marked `sh`, and the commands in its tables and text."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from stack.jobs import ROOT

from .cluster import kubectl, until

DOCUMENT = ROOT / "k8s" / "README.md"
# These go on until they are interrupted.
FOLLOWING = re.compile(r" -[fw]\b|make -C k8s (logs|port-forward)")
TYPED = re.compile(r"^(kubectl|k8s/connect\.sh|make -C k8s) \S")
FIRST_WORD_S = 60


def blocks() -> list[str]:
    """The lines of the blocks that are marked `sh`, without their comments."""
    marked = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(marked).splitlines()
    return [re.sub(r"\s{2,}#.*", "", line) for line in lines if line and not line.startswith("#")]


def in_text() -> list[str]:
    """The commands in backticks, but for those with something left to fill in."""
    quoted = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    )
    return sorted({command for command in quoted if TYPED.match(command) and "…" not in command} - set(blocks()))


@pytest.fixture(scope="module")
def environment(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A kubeconfig of the test's own, because one of the commands changes it."""
    copy = tmp_path_factory.mktemp("kube") / "config"
    copy.write_text(kubectl("config", "view", "--raw", "--flatten"))
    copy.chmod(0o600)
    subprocess.run(
        ["kubectl", "config", "set-context", "--current", "--namespace=keda-jobs-prod"],
        env={**os.environ, "KUBECONFIG": str(copy)},
        check=True,
        capture_output=True,
    )
    return {**os.environ, "KUBECONFIG": str(copy)}


def test_there_is_something_to_type() -> None:
    assert len(blocks()) >= 15
    assert len(in_text()) >= 8


@pytest.mark.parametrize("command", [*blocks(), *in_text()])
def test_a_command_works_as_typed(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    if FOLLOWING.search(command):
        assert said_first(command, environment, tmp_path / "log")
        return
    ended = subprocess.run(
        ["bash", "-euc", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def said_first(command: str, environment: dict[str, str], log: Path) -> str:
    """What a command that goes on says first; it is then interrupted, as by Ctrl-C."""
    with following(command, environment, log) as process:
        until(f"{command} says something", lambda: said(log) or process.poll() is not None, FIRST_WORD_S, every_s=0.2)
        assert process.poll() in (None, 0), log.read_text()
        return log.read_text()


def said(log: Path) -> bool:
    return log.stat().st_size > 0


@contextmanager
def following(command: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command with a process group of its own, interrupted at the end of the block."""
    # Where these tests were started in the background, they and all below them ignore Ctrl-C.
    with (
        log.open("wb") as output,
        subprocess.Popen(
            ["env", "--default-signal=INT", "bash", "-euc", command],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
