"""Commands in the documents work as typed, or the list here says why they are not tried here."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import nats
import pytest

from keda_jobs.domain.dead_letter import dead_letter
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.policy import Dead
from keda_jobs.event.job import EventJob
from stack import NatsServer, PostgresServer, shell_status, wait_until
from stack.jobs import ROOT, job_names, package_name
from stack.streams import apply_streams

from . import pages

# By the beginning of a command: where it is tried instead, or why it cannot be.
NOT_HERE = {
    r"make( |$)": "its targets are looked up below; CI runs them",
    r"\.ci/run$": "runs these tests",
    r"nats ": "not in a wheel: shared-py/tests/integration/test_nats_cli_recipes.py does the same on the wire",
    r"(\./)?k8s/|cp k8s/|kubectl |python -m cluster\.": "needs a cluster: tests/e2e",
    r"(\.|export) ": "changes the shell that it is typed into",
    r"PYTHONPATH=tools python tests/bench/": "millions of rows: minutes and gigabytes",
    rf"python -m ({'|'.join(map(package_name, job_names(EventJob)))})$": "the tests of jobs start it",
    r"PG_DSN=\S*…": "has a password to fill in; the same without one is run",
    r"keda-jobs streams \w+ --(to|from) s3": "needs a bucket: shared-py/tests/integration/backup",
    r"keda-jobs streams restore --from backups$": "refuses to replace what the stream here holds",
    r"keda-jobs compare |keda-jobs replay .* --python ": "needs a bucket and another version: tests/trials",
    r"keda-jobs batch retry$": "wants to know which rows; the same with a filter is run",
    r"python first\.py$": "test_sending.py runs it",
    r"keda-jobs (cancel|pub) video-|python -m video_encode$": "about the job that the reader is to write",
    r"keda-jobs ui": "serves until it is stopped: tests/ui, and shared-py/tests/integration/ui",
    r"keda-jobs schedules cancel ": "wants an event that waits: shared-py/tests/integration/cli/test_cli_schedules.py",
}
COMMANDS = [command for path in pages.TO_TYPE for command in pages.commands(path)]
HERE = [command for command in COMMANDS if not any(re.match(start, command.text) for start in NOT_HERE)]
DEAD_LETTER = "1234"  # the number of a dead letter, in the documents


@pytest.fixture
def environment(
    nats_server: NatsServer,
    postgres_server: PostgresServer,
    database: str,
) -> dict[str, str]:
    """Return a shell's variables, with a stream and the tables of the batch jobs."""
    asyncio.run(apply_streams(nats_server.url))
    found = {**os.environ, **nats_server.environment(), "PG_DSN": postgres_server.dsn_of(database)}
    subprocess.run(["users-batch-seed", "schema"], env=found, check=True, capture_output=True)
    return found


@pytest.fixture
def stored_dead_letter(nats_server: NatsServer, environment: dict[str, str]) -> int:
    """Return the number of a stored dead letter."""
    return asyncio.run(store_dead_letter(nats_server.url))


async def store_dead_letter(url: str) -> int:
    """Store a dead letter and return its number."""
    client = await nats.connect(url)
    message = Message(
        "image-download", b'{"url": "https://a/1.png"}', {}, Identity("image-download", 1, 1), 15, 1, datetime.now(UTC)
    )
    dead = Dead("the server answered 503", "HttpUnavailable")
    outgoing = dead_letter(message, "image-download", dead, 1024 * 1024, datetime.now(UTC))
    stored = await client.jetstream().publish(outgoing.subject, outgoing.data, headers=dict(outgoing.headers))
    await client.close()
    return stored.seq


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder to type commands in: it has the jobs, and what commands write stays in it."""
    (tmp_path / "jobs").symlink_to(ROOT / "jobs")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({command.page for command in HERE}))
def test_commands_of_a_document_work_as_typed(
    page: str, environment: dict[str, str], stored_dead_letter: int, folder: Path
) -> None:
    for command in HERE:
        if command.page == page:
            run(command.text.replace(DEAD_LETTER, str(stored_dead_letter)), environment, folder)


def run(typed: str, environment: dict[str, str], folder: Path) -> None:
    """Run a command to its end and answer yes, or until it has printed something where it would go on."""
    if "--watch" in typed:
        follow(typed, environment, folder / "log")
        return
    ended = subprocess.run(
        ["bash", "-euc", typed],
        cwd=folder,
        env=environment,
        input="y\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, f"{typed}\n{ended.stdout}{ended.stderr}"


def follow(typed: str, environment: dict[str, str], log: Path) -> None:
    """Interrupt a command, like Ctrl-C, once it has printed something, and check that it ends well."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-euc", f"exec {typed}"], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_until(lambda: log.stat().st_size > 0 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        assert shell_status(process.wait()) in (0, 130), f"{typed}\n{log.read_text()}"
    finally:
        process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("typed", sorted({one.text for one in COMMANDS if one.text.startswith("make lint ARGS")}))
def test_lint_runs_a_single_check_by_name(typed: str) -> None:
    ended = subprocess.run(
        ["bash", "-euc", f"{typed} --old-file=setup"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert re.findall(r"^lint: (?!all good)(.+)$", ended.stdout, re.MULTILINE) == [typed.split('"')[1]]


@pytest.mark.parametrize("path", pages.ALL, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_make_targets_named_in_a_document_exist(path: Path) -> None:
    for command in pages.commands(path):
        for makefile, target in pages.targets(command.text):
            assert re.search(rf"^{re.escape(target)}:", makefile.read_text(), re.MULTILINE), command
