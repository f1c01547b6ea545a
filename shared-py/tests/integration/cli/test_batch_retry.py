"""`keda-jobs batch retry`."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Sequence

import pytest

from keda_jobs.claims import ClaimQueue, failed_rows
from keda_jobs.claims.failed_rows import FailedRowCount, FailedRows, RowFilter
from keda_jobs.claims.rows import CompletedRow, Failure
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import open_connection, open_pool
from stack import PostgresServer, until

from .batch_table import BatchTable, waits_for_a_lock
from .conftest import Cli


@pytest.mark.parametrize(
    ("filters", "reset"),
    [
        (("--all",), {3, 4, 5, 6, 7}),
        (("--given-up",), {3, 4, 5}),
        (("--waiting",), {6, 7}),
        (("--reason", "email: missing"), {3, 4}),
        (("--reason", "no answer"), {6, 7}),
        (("6",), {6}),
        (("words-batch", "3", "7"), {3, 7}),
        (("--reason", "nobody"), set()),
    ],
)
@pytest.mark.parametrize("rows_each", [1, 5000])
def test_the_rows_are_pending_again_and_claimable(
    batch_cli: Cli,
    batch_table: BatchTable,
    monkeypatch: pytest.MonkeyPatch,
    filters: Sequence[str],
    reset: set[int],
    rows_each: int,
) -> None:
    monkeypatch.setattr(failed_rows, "_RESET_ROWS", rows_each)
    batch_table.fill()
    before = batch_table.statuses()

    done = batch_cli("batch", "retry", "--yes", "--json", *filters)

    assert done.code == 0
    found = done.json
    assert (found["found"], found["reset"]) == (len(reset), len(reset))
    assert batch_table.statuses() == before | dict.fromkeys(reset, "pending")
    batch_table.check()
    fresh = batch_table.rows("SELECT DISTINCT attempts, error FROM words WHERE word_id = ANY($1)", list(reset))
    assert fresh == ([(0, None)] if reset else [])


def test_workers_claim_each_reset_row_once(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.settle(batch_table.fill())
    batch_cli("batch", "retry", "--all", "--yes")

    batch = batch_table.claim(100)

    assert sorted(row.key for row in batch.rows) == [3, 4, 5, 6, 7, 9, 10]
    batch_table.settle(batch)
    assert set(batch_table.statuses().values()) == {"completed"}
    batch_table.check()


def test_rows_far_apart_are_listed(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 2002))
    batch_table.settle(batch_table.claim(2001), permanently=(1, 2, 100, 2000, 2001))

    batch_cli("batch", "retry", "--all", "--yes")

    ranges = batch_table.rows("SELECT keys FROM keda_jobs.words_queue")
    assert ranges == [([1, 2, 100, 2000, 2001],)], "a claim would read all rows between them"
    batch_table.check()


def test_a_retry_is_recorded_as_a_completed_batch(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    batch_cli("batch", "retry", "--all", "--yes")
    batch_cli("batch", "retry", "--reason", "nobody", "--yes")

    recorded = batch_table.rows(
        "SELECT status, claimed, returned, failed, given_up FROM batch_jobs WHERE pod_name = 'keda-jobs batch retry'"
    )
    assert recorded == [("completed", 5, 5, -3, -3)]
    assert batch_table.rows("SELECT sum(given_up)::int FROM batch_jobs") == [(0,)]


def test_without_a_filter_it_is_refused(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    before = batch_table.statuses()

    done = batch_cli("batch", "retry", "--yes")

    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "keda-jobs: no rows selected; pass KEY, a filter, or --all\n"
    assert batch_table.statuses() == before


def test_a_dry_run_shows_some_and_changes_nothing(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    before = batch_table.statuses()

    done = batch_cli("batch", "retry", "--all", "--dry-run")
    as_json = batch_cli("batch", "retry", "--all", "--dry-run", "--json")

    assert "Bad: email: missing" in done.stdout
    assert done.stderr == "5 rows (3 failed permanently, 2 waiting for a retry) would be set to pending\n"
    assert as_json.json == {
        "dry_run": True, "found": 5, "given_up": 3, "waiting": 2, "reset": 0, "locked": 0, "interrupted": False,
    }  # fmt: skip
    assert batch_table.statuses() == before


def test_without_a_terminal_it_requires_yes(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    before = batch_table.statuses()

    done = batch_cli("batch", "retry", "--all")

    assert done.code == 2
    assert done.stderr.endswith("stdin is not a terminal, pass --yes\n")
    assert batch_table.statuses() == before


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("n\n", 1, 5)])
def test_on_a_terminal_it_asks(batch_cli: Cli, batch_table: BatchTable, answer: str, code: int, left: int) -> None:
    batch_table.fill()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "keda_jobs.cli", "batch", "retry", "--all"],
        env=os.environ | batch_cli.environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, answer.encode())

    _, asked = process.communicate()
    os.close(ours)
    os.close(theirs)

    assert process.returncode == code
    assert "Set 5 rows (3 failed permanently, 2 waiting for a retry) to pending?" in asked
    assert list(batch_table.statuses().values()).count("failed permanently") * 5 / 3 == left


def test_a_key_that_did_not_fail_is_named_and_the_others_are_reset(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    done = batch_cli("batch", "retry", "1", "3", "--yes")

    assert done.code == 1
    assert "1 is not among these failed rows" in done.stderr
    assert batch_table.statuses()[3] == "pending"


def test_the_worker_s_role_may_retry(
    batch_cli: Cli, batch_table: BatchTable, postgres_server: PostgresServer, database: str
) -> None:
    batch_table.fill()
    batch_cli.environment["PG_DSN"] = postgres_server.dsn_of(database, "words_worker")

    done = batch_cli("batch", "retry", "--all", "--yes")

    assert (done.code, batch_table.statuses()[3]) == (0, "pending")
    batch_table.check()


def test_a_waiting_row_that_a_worker_claims_first_is_left_to_it(batch_table: BatchTable) -> None:
    batch_table.fill()

    async def work() -> FailedRowCount:
        async with open_connection(batch_table.settings, name="test") as connection:
            failed = FailedRows(connection, batch_table.table)
            rows = await failed.find(RowFilter(failed_permanently=False), 10)
            await asyncio.to_thread(batch_table.make_due)
            await asyncio.to_thread(batch_table.claim, 3)
            return await failed.reset(rows)

    assert asyncio.run(work()) == FailedRowCount(0, 0)
    assert batch_table.statuses()[6] == "processing"
    assert batch_table.rows("SELECT 1 FROM batch_jobs WHERE pod_name LIKE 'keda-jobs%'") == []
    batch_table.check()


def test_it_waits_for_a_running_claim(batch_table: BatchTable) -> None:
    """Let the claim commit between the search for rows and their reset."""
    batch_table.fill()
    batch_table.make_due()

    async def work() -> FailedRowCount:
        async with (
            open_connection(batch_table.settings, name="claim") as claiming,
            open_connection(batch_table.settings, name="retry") as connection,
            open_connection(batch_table.settings, name="test") as watching,
        ):
            failed = FailedRows(connection, batch_table.table)
            rows = await failed.find(RowFilter(failed_permanently=False), 10)
            async with claiming.transaction():
                await claiming.execute(
                    "SET LOCAL keda_jobs.claims = 'on';"
                    "UPDATE keda_jobs.words_queue SET batch_id = 4 WHERE batch_status = 'failed';"
                    "UPDATE words SET batch_status = 'processing', batch_id = 4 WHERE word_id IN (6, 7)"
                )
                resetting = asyncio.create_task(failed.reset(rows))
                while not await waits_for_a_lock(watching):
                    assert not resetting.done()
            return await resetting

    assert asyncio.run(work()) == FailedRowCount(0, 0)
    assert [batch_table.statuses()[key] for key in (6, 7)] == ["processing", "processing"]


def test_no_row_is_lost_or_duplicated_while_workers_run(batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 401))

    async def worker(queue: ClaimQueue) -> None:
        for number in range(30):
            if batch := await queue.claim(40):
                delays = {row.key: None if row.key % 2 else 0.0 for row in batch.rows if row.key % 10 < 4}
                failures = [Failure(key, "Bad", delay_s) for key, delay_s in delays.items()]
                done = [CompletedRow(row, (number,)) for row in batch.rows if row.key not in delays]
                await queue.settle(batch, done, failures)
                await queue.close(batch)

    async def retry(workers: asyncio.Future[list[None]]) -> int:
        reset = 0
        async with open_connection(batch_table.settings, name="retry") as connection:
            failed = FailedRows(connection, batch_table.table)
            while not workers.done():
                async for page in failed.pages(RowFilter(), 7):
                    reset += (await failed.reset(page)).rows
        return reset

    async def work() -> int:
        async with open_pool(batch_table.settings, name="workers", connections=3, call_s=30) as connections:
            queue = await ClaimQueue.bind(
                connections, batch_table.table, pod_name="pod", lease_s=600, call_s=30, policy=RetryPolicy()
            )
            workers = asyncio.gather(*(worker(queue) for _ in range(3)))
            first, second = await asyncio.gather(retry(workers), retry(workers))
            await workers
            return first + second

    assert asyncio.run(work()) > 0
    batch_table.check()
    assert len(batch_table.statuses()) == 400
    assert "processing" not in batch_table.statuses().values()


def test_an_interrupted_retry_ends_between_two_transactions(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 6001))
    batch_table.settle(batch_table.claim(6000), permanently=range(1, 6001))

    async def work() -> None:
        async with (
            open_connection(batch_table.settings, name="holder") as holder,
            open_connection(batch_table.settings, name="test") as watching,
            holder.transaction(),
        ):
            await holder.execute("SELECT 1 FROM words WHERE word_id = 1 FOR UPDATE")
            process = batch_cli.start("batch", "retry", "--all", "--yes", "--json")
            await until(lambda: waits_for_a_lock(watching))
            process.send_signal(signal.SIGINT)

    asyncio.run(work())
    done = batch_cli.finish(batch_cli.started[0])

    assert done.code == 130
    assert (done.json["reset"], done.json["interrupted"]) == (5000, True)
    assert list(batch_table.statuses().values()).count("failed permanently") == 1000
    batch_table.check()


@pytest.mark.parametrize(
    ("locked", "left"),
    [("SELECT FROM words WHERE word_id = 3 FOR UPDATE", 1), ("SELECT FROM keda_jobs.words_queue FOR UPDATE", 2)],
    ids=["row", "ranges"],
)
def test_rows_that_somebody_has_locked_are_left_out_and_told(
    batch_cli: Cli, batch_table: BatchTable, locked: str, left: int
) -> None:
    """Three rows failed permanently, and two wait in ranges."""
    batch_table.fill()

    async def work() -> None:
        async with open_connection(batch_table.settings, name="idle") as holder, holder.transaction():
            await holder.execute(locked)
            process = batch_cli.start("batch", "retry", "--all", "--yes", "--json")
            done = await asyncio.to_thread(batch_cli.finish, process)
            assert done.code == 1
            assert (done.json["found"], done.json["reset"], done.json["locked"]) == (5, 5 - left, left)
            assert f"{left} row" in done.stderr
            assert "left out, locked by " in done.stderr

    asyncio.run(work())
    batch_table.check()
    assert batch_cli("batch", "retry", "--all", "--yes", "--json").json["reset"] == left
    batch_table.check()


def test_a_locked_table_ends_it_in_one_line_with_the_holder(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    async def work() -> None:
        async with open_connection(batch_table.settings, name="idle") as holder, holder.transaction():
            await holder.execute("LOCK TABLE words IN SHARE MODE")
            process = batch_cli.start("batch", "retry", "--all", "--yes")
            done = await asyncio.to_thread(batch_cli.finish, process)
            assert done.code == 1
            assert "words is locked by process " in done.stderr
            assert "(idle, role " in done.stderr

    asyncio.run(work())
