"""`make dash` against a local stack of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from keda_jobs.event.job import EventJob
from stack import FREE_PORTS, job_names, wait_until
from stack.jobs import ROOT

from .programs import program


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield the folder of a running stack."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "tools"))
    stack("up", f"--folder={tmp_path}", *(f"--{name}-port=0" for name in asdict(FREE_PORTS)))
    yield tmp_path
    stack("down", f"--folder={tmp_path}")


def stack(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "stack", *arguments], stdout=subprocess.DEVNULL, check=True)


def healthy_jobs(prometheus: str) -> set[str]:
    with urllib.request.urlopen(f"{prometheus}/api/v1/targets", timeout=5) as answer:
        targets = json.loads(answer.read())["data"]["activeTargets"]
    return {target["labels"]["job"] for target in targets if target["health"] == "up"}


def test_it_scrapes_the_stack_until_ctrl_c(folder: Path) -> None:
    environment = {"PYTHONPATH": str(ROOT / "tools"), "PROMETHEUS": program("prometheus"), "PATH": os.devnull}
    dash = subprocess.Popen(
        [sys.executable, "-m", "dash", f"--folder={folder}"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert dash.stdout is not None
    with dash.stdout as output:
        url = output.readline().split()[1].rstrip(",")
        wait_until(lambda: healthy_jobs(url) >= set(job_names(EventJob)))
        dash.send_signal(signal.SIGINT)
        rest = output.read()
    assert dash.wait() == 0
    assert "Grafana     not started: docker is not installed\n" in rest
    with pytest.raises(OSError, match="refused"):
        healthy_jobs(url)
