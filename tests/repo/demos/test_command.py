"""Command of the demo: Ctrl-C, and the folders it uses."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from demo.resources import claim
from stack import StackError, shell_status, wait_until

from .runs import processes_of, run_demo, start_demo


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "line"),
    [
        ("pictures", "Starting NATS"),
        ("pictures", "  1."),
        ("users", "Starting PostgreSQL"),
        ("users", "Seeding"),
        ("users", "Starting 2 workers"),
    ],
)
def test_ctrl_c_leaves_no_process_and_no_traceback(tmp_path: Path, scenario: str, line: str) -> None:
    demo = start_demo("--only", scenario, "--folder", tmp_path)
    assert demo.stdout is not None
    assert any(read.startswith(line) for read in demo.stdout), f"the demo never printed {line!r}"
    assert line != "  1." or len(processes_of(tmp_path)) >= 4

    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate()

    assert shell_status(demo.returncode) == 130, errors
    assert errors.splitlines()[-1] == "demo: interrupted, everything is stopped"
    assert "Traceback" not in errors
    # A killed process may need a moment to go.
    wait_until(lambda: not processes_of(tmp_path))


def test_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with claim(tmp_path / "pictures"):
        ended = run_demo("--folder", tmp_path)

    assert ended.returncode == 1
    assert re.fullmatch(r"demo: a demo is already running in .+; .+\n", ended.stderr)


def test_folder_of_someone_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(StackError, match="was not made by the demo"), claim(tmp_path):
        pass

    assert (tmp_path / "thesis.txt").exists()


def test_folder_of_the_last_run_is_emptied(tmp_path: Path) -> None:
    with claim(tmp_path):
        (tmp_path / "nats").mkdir()
        (tmp_path / "nats" / "old").touch()
        (tmp_path / "jobs.log").touch()

    with claim(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["demo.lock"]
