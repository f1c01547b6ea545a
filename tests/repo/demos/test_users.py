"""Scenario with users."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from demo.users import failures, seed
from stack import PostgresServer, StackError

from .runs import processes_of, run_demo, run_make


@pytest.mark.slow
def test_all_users_come_out_and_the_failures_are_the_invalid_ones(tmp_path: Path) -> None:
    other_server = {"PG_DSN": "postgresql://someone@production.example.org/users", "PGSSLMODE": "require"}

    ended = run_make("demo-batch", f"ARGS=--folder {tmp_path}", **other_server)

    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^completed +198,000$", ended.stdout, re.MULTILINE), ended.stdout
    assert re.search(r"^failed +2,000$", ended.stdout, re.MULTILINE)
    shares = re.findall(r"^worker-\d +(\d+) +([\d,]+) +([\d,]+) +[\d,]+$", ended.stdout, re.MULTILINE)
    assert len(shares) == 2
    assert sum(int(batches) for batches, _, _ in shares) >= 10
    assert sum(int(rows.replace(",", "")) for share in shares for rows in share[1:]) == 200_000
    reasons = re.findall(r"^(name|email): \S.* +([\d,]+) +\d+ +'.*' *$", ended.stdout, re.MULTILINE)
    assert {field for field, _ in reasons} == {"name", "email"}
    assert sum(int(users.replace(",", "")) for _, users in reasons) == 2_000
    assert re.search(r"^ +\d+\.\d s  completed [\d,]+ \([\d,]+ rows/s\), failed \d", ended.stdout, re.MULTILINE)
    assert re.search(r"^200,000 users in \d+\.\d s by 2 workers: [\d,]+ rows/s\.$", ended.stdout, re.MULTILINE)
    assert processes_of(tmp_path) == set()


@pytest.mark.slow
def test_worker_that_fails_is_one_line_and_the_exit_code_is_1(tmp_path: Path) -> None:
    ended = run_demo("--only", "users", "--folder", tmp_path, CLAIM_SIZE="0")

    assert ended.returncode == 1
    assert re.fullmatch(r"demo: users-batch exited with 2: CLAIM_SIZE: .+", ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr
    assert processes_of(tmp_path) == set()


def test_seed_tool_that_fails_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StackError, match=r"^users-batch-seed exited with \d; see its message above$"):
        seed(PostgresServer(tmp_path), 10, tmp_path / "users")

    assert capfd.readouterr().err


def test_interrupt_while_the_seed_tool_starts_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    tool = tmp_path / "seed"
    tool.write_text("#!/bin/sh\nexec sleep 60\n")
    tool.chmod(0o700)
    monkeypatch.setattr("demo.users.binary", lambda _name: str(tool))

    with pytest.raises(KeyboardInterrupt):
        seed(PostgresServer(tmp_path), 10, tmp_path / "users")

    assert [process.poll() is not None for process in started] == [True]


@pytest.mark.parametrize(
    ("by_status", "expected"),
    [
        ({"completed": 97, "failed": 3}, []),
        ({"completed": 90, "failed": 3, "pending": 7}, ["90 rows completed and 3 failed, but 100 were seeded"]),
        ({"completed": 96, "failed": 4}, ["4 rows failed, but 3 were seeded invalid"]),
        (
            {},
            ["0 rows completed and 0 failed, but 100 were seeded", "0 rows failed, but 3 were seeded invalid"],
        ),
    ],
)
def test_counts_that_do_not_add_up_are_failures(by_status: dict[str, int], expected: list[str]) -> None:
    assert failures(seeded=100, invalid=3, by_status=by_status) == expected
