"""Command `reset`: what it empties, and when it refuses."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from users_seed import tables
from users_seed.load import load

from .conftest import Database, Tool, hold_locks, wait_for_lock


@pytest.fixture
def filled(users: Database, small: Path) -> Database:
    """Return the database with the data set `SMALL` imported."""
    asyncio.run(load(users.settings, small))
    return users


Answer = Callable[[str], tuple[int, str]]


@pytest.fixture
def reset_on_a_terminal(tool: Tool) -> Answer:
    """Return a function that answers `reset` on a terminal and returns its exit code and screen."""

    def reset(typed: str) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("users-batch-seed")), "reset"],
            env=tool.environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        screen = ""
        try:
            while "Empty it permanently?" not in screen:
                screen += os.read(ours, 4096).decode()
            os.write(ours, typed.encode())
            code = process.wait()
            rest = os.read(ours, 4096).decode()
        finally:
            os.close(ours)
        return code, screen + rest

    return reset


def is_empty(database: Database) -> bool:
    counts = (
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM keda_jobs.users_queue), count(*) FROM batch_jobs"
    )
    state = "SELECT to_regclass('users_seed'), to_regclass('users_seed_chunks')"
    return database.fetch(counts) == [(0, 0, 0)] and database.fetch(state) == [(None, None)] and database.is_in_use


def test_reset_empties_everything_and_an_import_can_start(filled: Database, small: Path, tool: Tool) -> None:
    assert filled.work() == 0
    done = tool("reset", "--yes", "--json")
    assert (done.code, done.json) == (0, {"reset": True, "batches": 1})
    assert is_empty(filled)
    assert filled.claimable == 0
    assert filled.value("INSERT INTO users (name) VALUES ('Ada') RETURNING id") == 1
    filled.run("TRUNCATE users")
    assert asyncio.run(load(filled.settings, small)).claimable == 6_000


def test_reset_removes_an_interrupted_import(users: Database, small: Path) -> None:
    (small / "users-00003.csv").write_bytes((small / "users-00003.csv").read_bytes().replace(b"\n", b" "))
    with pytest.raises(Exception, match="users-00003"):
        asyncio.run(load(users.settings, small))
    assert not users.is_in_use
    asyncio.run(tables.reset(users.settings))
    assert is_empty(users)


def test_no_on_a_terminal_changes_nothing(filled: Database, reset_on_a_terminal: Answer) -> None:
    code, screen = reset_on_a_terminal("n\n")
    assert code == 1
    assert "users in the database test_" in screen
    assert "about 6,000 rows" in screen
    assert "nothing was changed" in screen
    assert filled.claimable == 6_000


def test_yes_on_a_terminal_empties_the_table(filled: Database, reset_on_a_terminal: Answer) -> None:
    code, _ = reset_on_a_terminal("y\n")
    assert code == 0
    assert is_empty(filled)


def test_without_a_terminal_reset_requires_the_option_yes(filled: Database, tool: Tool) -> None:
    refused = tool("reset")
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "users-batch-seed: refusing to empty users without confirmation: stdin is not a terminal, pass --yes\n"
    )
    assert filled.claimable == 6_000


def test_reset_is_refused_while_a_worker_has_a_batch(filled: Database, tool: Tool) -> None:
    filled.run(
        "INSERT INTO keda_jobs.batch_jobs (batch_name, pod_name, lease_expires_at)"
        " VALUES ('users-batch', 'pod-1', now() + interval '1 minute')"
    )
    refused = tool("reset", "--yes")
    assert (refused.code, refused.last_line) == (
        1,
        "users-batch-seed: workers are processing 1 batches; stop them, then reset",
    )
    assert filled.claimable == 6_000
    filled.run("UPDATE keda_jobs.batch_jobs SET lease_expires_at = now()")
    assert tool("reset", "--yes").code == 0
    assert is_empty(filled)


def test_reset_waits_for_a_query_that_uses_the_table(filled: Database, tool: Tool) -> None:
    with hold_locks(filled, "LOCK TABLE users IN ACCESS SHARE MODE"):
        resetting = tool.start("reset", "--yes")
        wait_for_lock(filled, "LOCK TABLE keda_jobs.users_queue")
    assert tool.finish(resetting).code == 0
    assert is_empty(filled)
