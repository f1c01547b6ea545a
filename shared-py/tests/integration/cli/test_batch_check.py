"""`keda-jobs batch check`."""

from __future__ import annotations

import asyncio
import signal

import pytest

from keda_jobs.postgres import open_connection
from stack import PostgresServer, until

from .batch_table import BatchTable, waits_for_a_lock
from .conftest import Cli


def test_a_queue_in_step_is_reported(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    done = batch_cli("batch", "check")

    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "10 rows of words and 3 ranges compared",
        "0 stranded rows",
        "0 wrong ranges",
    ]


def test_stranded_rows_are_found_and_repaired(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    batch_table.rows("DELETE FROM keda_jobs.words_queue WHERE batch_id IS NULL AND batch_status = 'pending'")
    batch_table.rows("UPDATE keda_jobs.words_queue SET claimable = 7 WHERE batch_id IS NULL")

    found, repaired = batch_cli("batch", "check"), batch_cli("batch", "check", "words-batch", "--repair", "--json")

    assert found.code == 1
    assert found.stdout.splitlines()[1:] == [
        "2 stranded rows",
        "1 wrong range",
        "no worker gets 2 rows; pass --repair",
    ]
    assert repaired.code == 0
    assert repaired.json == {
        "batch_name": "words-batch", "table": "words", "rows": 10, "ranges": 3, "stranded_rows": 2, "wrong_ranges": 1,
        "repaired_rows": 2, "repaired_ranges": 1, "interrupted": False,
    }  # fmt: skip
    batch_table.check()


def test_rows_that_cannot_be_repaired_are_told(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(1, 2)
    batch_table.claim(2)
    batch_table.rows("DELETE FROM keda_jobs.batch_jobs")
    batch_table.rows("ALTER TABLE words ADD CHECK (word <> 'word 2') NOT VALID")

    done = batch_cli("batch", "check", "--repair")

    assert done.code == 1
    assert done.stdout.splitlines()[1:] == [
        "2 stranded rows, 1 repaired",
        "1 wrong range, 1 repaired",
        "no worker gets 1 row; some are locked, or a trigger or constraint refuses them: run it again",
    ]


@pytest.mark.parametrize(
    ("role", "code"), [("words_worker", 0), ("words_scaler", 2), ("keda_jobs_exporter", 2), ("keda_jobs_operator", 2)]
)
def test_the_worker_s_role_may_repair_and_others_are_told_why_not(
    batch_cli: Cli, batch_table: BatchTable, postgres_server: PostgresServer, database: str, role: str, code: int
) -> None:
    batch_table.insert(1, 2)
    batch_cli.environment["PG_DSN"] = postgres_server.dsn_of(database, role)

    done = batch_cli("batch", "check", "--repair")

    assert done.code == code
    assert ("permission denied" in done.stderr) == bool(code)
    assert len(done.stderr.splitlines()) == bool(code)


def test_an_interrupted_check_is_cancelled_in_the_server(batch_cli: Cli, batch_table: BatchTable) -> None:
    async def work() -> None:
        async with (
            open_connection(batch_table.settings, name="holder") as holder,
            open_connection(batch_table.settings, name="test") as watching,
            holder.transaction(),
        ):
            await holder.execute("LOCK TABLE words")
            process = batch_cli.start("batch", "check", "--repair", "--json")
            await until(lambda: waits_for_a_lock(watching))
            process.send_signal(signal.SIGINT)
            done = await asyncio.to_thread(batch_cli.finish, process)
            assert (done.code, done.json["interrupted"], done.json["rows"]) == (130, True, 0)
            assert not await waits_for_a_lock(watching)

    asyncio.run(work())
