"""`make dash` when something is missing, and the files that it passes to Grafana.

tests/monitoring has the tests with a real Prometheus. There is no test with a real Grafana.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dash.grafana import DASHBOARDS, IMAGE, PROVISIONING, Grafana, get_image
from dash.prometheus import INTERVAL_S
from stack import StackError
from stack.jobs import ROOT


def dash(folder: Path, prometheus: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "dash", f"--folder={folder}"]
    environment = {"PYTHONPATH": str(ROOT / "tools"), "PROMETHEUS": prometheus}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def provisioned(kind: str) -> Any:
    [path] = (PROVISIONING / kind).iterdir()
    [found] = yaml.safe_load(path.read_text())[kind if kind == "datasources" else "providers"]
    return found


def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_prometheus_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    code, line = dash(tmp_path, "/nowhere/prometheus")
    assert (code, line) == (
        1,
        "dash: prometheus is not installed: apt-get install prometheus, or set PROMETHEUS=/path/to/prometheus\n",
    )


def test_without_a_running_stack_one_line_says_so(tmp_path: Path) -> None:
    assert dash(tmp_path, "/bin/true") == (1, "dash: the local stack is not running: run `make up` first\n")


def test_grafana_is_not_started_without_docker_or_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"^docker is not installed$"):
        get_image()
    fake_docker(tmp_path, monkeypatch, 'echo "first" >&2; echo "no such host" >&2; exit 1')
    with pytest.raises(StackError, match=f"^docker cannot pull {IMAGE}: no such host$"):
        get_image()


def test_an_existing_image_is_not_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_docker(tmp_path, monkeypatch, '[ "$1 $2" = "image inspect" ]')
    get_image()


def test_grafana_gets_its_data_source_and_the_dashboards(tmp_path: Path) -> None:
    command = Grafana(tmp_path, prometheus_port=9090, port=3000).command()
    assert f"--volume={PROVISIONING}:/etc/grafana/provisioning:ro" in command
    assert f"--volume={DASHBOARDS}:/etc/dashboards:ro" in command
    assert any(argument.startswith("--env=PROMETHEUS_URL=http://") for argument in command)
    assert command[-1] == IMAGE


def test_grafana_reads_what_it_gets() -> None:
    source = provisioned("datasources")
    assert (source["url"], source["jsonData"]) == ("${PROMETHEUS_URL}", {"timeInterval": f"{INTERVAL_S}s"})
    assert provisioned("dashboards")["options"] == {"path": "/etc/dashboards"}
