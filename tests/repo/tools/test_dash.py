"""`make dash` where something is missing, and the files that it gives to Grafana.

What it does with a real Prometheus is in tests/monitoring; no Grafana is to be had where these run.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def provisioned(kind: str) -> object:
    [path] = (PROVISIONING / kind).iterdir()
    return yaml.safe_load(path.read_text())


def docker_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_without_prometheus_one_line_says_how_to_get_it(tmp_path: Path) -> None:
    code, line = dash(tmp_path, "/nowhere/prometheus")
    assert (code, line) == (
        1,
        "dash: prometheus is not here: apt-get install prometheus, or PROMETHEUS=/path/of/prometheus\n",
    )


def test_without_a_running_stack_one_line_says_so(tmp_path: Path) -> None:
    assert dash(tmp_path, "/bin/true") == (1, "dash: the local stack is not up: run `make up` first\n")


def test_grafana_is_left_out_where_there_is_no_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"^docker is not here$"):
        get_image()


def test_grafana_is_left_out_where_docker_cannot_pull_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that(tmp_path, monkeypatch, 'echo "first" >&2; echo "no such host" >&2; exit 1')
    with pytest.raises(StackError, match=f"^docker cannot pull {IMAGE}: no such host$"):
        get_image()


def test_an_image_that_is_there_is_not_pulled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker_that(tmp_path, monkeypatch, '[ "$1 $2" = "image inspect" ]')
    get_image()


def test_grafana_gets_its_data_source_and_the_dashboards(tmp_path: Path) -> None:
    command = Grafana(tmp_path, prometheus_port=9090, port=3000).command()
    assert f"--volume={PROVISIONING}:/etc/grafana/provisioning:ro" in command
    assert f"--volume={DASHBOARDS}:/etc/dashboards:ro" in command
    assert any(argument.startswith("--env=PROMETHEUS_URL=http://") for argument in command)
    assert command[-1] == IMAGE


def test_the_data_source_is_prometheus_and_knows_how_often_it_scrapes() -> None:
    made = provisioned("datasources")
    assert made == {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "Prometheus",
                "type": "prometheus",
                "access": "proxy",
                "url": "${PROMETHEUS_URL}",
                "isDefault": True,
                "jsonData": {"timeInterval": f"{INTERVAL_S}s"},
            }
        ],
    }


def test_the_dashboards_are_read_from_a_folder() -> None:
    made = provisioned("dashboards")
    provider = {"name": "keda-jobs", "type": "file", "options": {"path": "/etc/dashboards"}}
    assert made == {"apiVersion": 1, "providers": [provider]}
