"""Commands of k8s/README.md work as typed: those in its blocks marked `sh`, in its tables and in its text."""

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

from .cluster import ENVIRONMENT, JOBS, kubectl, run, until

DOCUMENT = ROOT / "k8s" / "README.md"
# These run until they are interrupted.
FOLLOWING = re.compile(r" -[fw]\b|make -C k8s (logs|port-forward)")
TYPED = re.compile(r"^(kubectl|k8s/connect\.sh|make -C k8s) \S")


def blocks() -> list[str]:
    """Return the lines of the blocks that are marked `sh`, without their comments."""
    marked = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(marked).splitlines()
    return [re.sub(r"\s{2,}#.*", "", line) for line in lines if line and not line.startswith("#")]


def in_text() -> list[str]:
    """Return the commands in backticks, without those with a part to fill in."""
    quoted = re.findall(
        r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", DOCUMENT.read_text(), flags=re.MULTILINE | re.DOTALL)
    )
    return sorted({command for command in quoted if TYPED.match(command) and "…" not in command} - set(blocks()))


@pytest.fixture(scope="module")
def environment(deployed: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Copy the kubeconfig, because one of the commands changes it."""
    copy = tmp_path_factory.mktemp("kube") / "config"
    copy.write_text(kubectl("config", "view", "--raw", "--flatten"))
    copy.chmod(0o600)
    environment = {**os.environ, "ENV": ENVIRONMENT.environment, "KUBECONFIG": str(copy)}
    run("kubectl", "config", "set-context", "--current", f"--namespace={JOBS}", environment=environment)
    return environment


def test_there_is_something_to_type() -> None:
    assert len(blocks()) >= 15
    assert len(in_text()) >= 8


@pytest.mark.parametrize("command", [*blocks(), *in_text()])
def test_command_works_as_typed(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    if FOLLOWING.search(command):
        assert first_output(command, environment, tmp_path / "log")
        return
    run("bash", "-euc", command, environment=environment)


def first_output(command: str, environment: dict[str, str], log: Path) -> str:
    """Return the first output of a command that runs until Ctrl-C, and interrupt it."""
    with following(command, environment, log) as process:
        until(f"{command} prints something", lambda: has_output(log) or process.poll() is not None, every_s=0.2)
        assert process.poll() in (None, 0), log.read_text()
        return log.read_text()


def has_output(log: Path) -> bool:
    return log.stat().st_size > 0


@contextmanager
def following(command: str, environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in its own process group and interrupt it at the end of the block."""
    # In the background these tests and their children ignore Ctrl-C.
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
