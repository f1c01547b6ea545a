"""`make demo-batch` as a person runs it, in a process of its own, with a folder of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.folder import claimed
from demo_batch.command import shortfalls
from demo_batch.seed import Seeded, seed
from demo_batch.tally import Report, Share, Tally
from stack import PostgresServer, StackError, wait_until
from stack.jobs import ROOT

SEEDED = Seeded(rows=100, invalid=3)


def report(**by_status: int) -> Report:
    return Report(Tally(), by_status, ())


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "tools"), **variables}


def run_demo(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demo_batch", "--folder", str(folder)],
        check=False,
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=110,
    )


def processes_of(folder: Path) -> set[int]:
    """The process ids of all whose output goes to a log in `folder`: the server, its children, the workers."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "fd" / "1").readlink().is_relative_to(folder):
                found.add(int(process.name))
    return found


@pytest.mark.slow
def test_all_users_come_out_and_the_failures_are_the_invalid_ones(tmp_path: Path) -> None:
    ended = subprocess.run(
        ["make", "--no-print-directory", "demo-batch", f"ARGS=--folder {tmp_path / 'demo'}"],
        check=False,
        cwd=ROOT,
        env=environment(PG_DSN="postgresql://someone@production.example.org/users", PGSSLMODE="require"),
        capture_output=True,
        text=True,
    )

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
    assert re.search(r"^ +\d+\.\d s  [\d,]+ of 200,000 rows, [\d,]+ rows/s: ", ended.stdout, re.MULTILINE)
    assert re.search(r"^200,000 users in \d+\.\d s by 2 workers: [\d,]+ rows/s\.$", ended.stdout, re.MULTILINE)
    assert processes_of(tmp_path) == set()


@pytest.mark.slow
def test_a_worker_that_fails_is_one_line_and_the_exit_code_is_1(tmp_path: Path) -> None:
    ended = run_demo(tmp_path / "demo", CLAIM_SIZE="0")

    assert ended.returncode == 1
    assert re.fullmatch(r"demo: users-batch exited with 2: CLAIM_SIZE: .+", ended.stderr.splitlines()[-1])
    assert "Traceback" not in ended.stderr
    assert processes_of(tmp_path) == set()


@pytest.mark.slow
@pytest.mark.parametrize("line", ["Starting PostgreSQL", "Seeding", "Starting 2 workers"])
def test_ctrl_c_leaves_no_process_and_no_traceback(tmp_path: Path, line: str) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo_batch", "--folder", str(tmp_path / "demo")],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    assert next((read for read in demo.stdout if read.startswith(line)), None), "the demo never came so far"

    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=30)

    assert demo.returncode == 130, errors
    assert errors.splitlines()[-1] == "demo: interrupted, everything is stopped"
    assert "Traceback" not in errors
    wait_until(lambda: not processes_of(tmp_path))


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with claimed(tmp_path / "demo"):
        ended = run_demo(tmp_path / "demo")

    assert ended.returncode == 1
    assert re.fullmatch(r"demo: a demo is running in .+ already; .+\n", ended.stderr)


def test_a_seed_tool_that_fails_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StackError, match=r"^users-batch-seed exited with \d; what it said stands above$"):
        seed(PostgresServer(tmp_path), 10, tmp_path / "users")

    assert capfd.readouterr().err


def test_an_interrupt_that_comes_while_the_seed_tool_starts_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    monkeypatch.setattr("demo_batch.seed.binary", lambda _name: str(tool))
    monkeypatch.setattr("demo_batch.seed._STOP_S", 1.0)

    with pytest.raises(KeyboardInterrupt):
        seed(PostgresServer(tmp_path), 10, tmp_path / "users")

    assert [process.poll() is not None for process in started] == [True]


def test_nothing_falls_short_when_the_invalid_users_failed_and_the_others_completed() -> None:
    assert shortfalls(report(completed=97, failed=3), SEEDED) == []


def test_users_that_were_not_reached_fall_short() -> None:
    assert shortfalls(report(completed=90, failed=3, pending=7), SEEDED) == [
        "90 rows completed and 3 failed, but 100 were seeded"
    ]


def test_a_valid_user_that_failed_falls_short() -> None:
    assert shortfalls(report(completed=96, failed=4), SEEDED) == ["4 rows failed, but 3 were seeded invalid"]


def test_an_empty_table_falls_short() -> None:
    assert len(shortfalls(report(), SEEDED)) == 2


def test_the_rate_of_all_counts_from_the_first_claim_to_the_last_end() -> None:
    tally = Tally((Share("a", 1, 90, 10, began=5.0, ended=7.0), Share("b", 1, 300, 0, began=6.0, ended=9.0)))

    assert (tally.rows, tally.seconds, tally.rows_per_s) == (400, 4.0, 100.0)
    assert [share.rows_per_s for share in tally.shares] == [50.0, 100.0]
    assert Tally().rows_per_s == 0.0
