"""Import: every row once and claimable, after any interruption."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.errors import DatabaseUnavailable, JobError, Misconfigured
from stack import PostgresServer
from users_seed import manifest, tables
from users_seed.data_set import DataSet
from users_seed.disk import space_in_database
from users_seed.generate import generate
from users_seed.load import Loaded, load

from .conftest import SMALL, Database, Tool, hold_locks, interrupt, limit_disk, wait_for_lock

# A row in the middle of the third chunk waits for whoever holds the lock, and its chunk with it.
WAIT_IN_THE_THIRD_CHUNK = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END $$;
CREATE TRIGGER wait BEFORE INSERT ON users FOR EACH ROW WHEN (NEW.id = 2500) EXECUTE FUNCTION wait()"""
HOLD = "SELECT pg_advisory_xact_lock(77)"


# Count of rows that a claim would find. Each is in one range that agrees with it.
CLAIMABLE = """
SELECT count(*), max(claimable) <= 20000 FROM users AS row JOIN keda_jobs.users_queue AS range ON id BETWEEN lo AND hi
  AND row.next_attempt_at = range.next_attempt_at AND row.batch_status = range.batch_status
  AND row.batch_id IS NOT DISTINCT FROM range.from_batch"""


def run(database: Database, folder: Path) -> Loaded:
    return asyncio.run(load(database.settings, folder))


def run_fails(database: Database, folder: Path) -> str:
    with pytest.raises(JobError) as failure:
        run(database, folder)
    return str(failure.value)


@contextmanager
def import_waiting_in_the_third_chunk(database: Database, folder: Path) -> Iterator[Future[Loaded]]:
    """Keep an import waiting during the block."""
    database.run(WAIT_IN_THE_THIRD_CHUNK)
    with ThreadPoolExecutor(1) as thread, hold_locks(database, HOLD):
        importing = thread.submit(run, database, folder)
        wait_for_lock(database, "COPY")
        yield importing


def check_that_all_is_loaded(database: Database, data_set: DataSet = SMALL) -> None:
    rows = data_set.rows
    assert database.fetch("SELECT count(*), count(DISTINCT id), min(id), max(id) FROM users") == [(rows, rows, 1, rows)]
    assert database.claimable == database.value("SELECT sum(claimable) FROM keda_jobs.users_queue") == rows
    assert database.fetch(CLAIMABLE) == [(rows, True)]
    assert database.is_in_use
    # What an application inserts afterwards has the next id and waits for a worker.
    assert database.value("INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com') RETURNING id") == rows + 1
    assert database.claimable == rows + 1


def test_an_import_leaves_every_row_claimable_and_the_table_in_use(users: Database, small: Path) -> None:
    loaded = run(users, small)
    assert (loaded.rows, loaded.invalid, loaded.before, loaded.claimable) == (6_000, 120, 0, 6_000)
    assert users.value("SELECT reltuples FROM pg_class WHERE oid = 'users'::regclass") == 6_000
    assert run(users, small).before == 6_000, "a second import loads nothing"
    check_that_all_is_loaded(users)


def test_a_chunk_of_many_rows_becomes_ranges_of_twenty_thousand(users: Database, tmp_path: Path) -> None:
    data_set = DataSet(95_000, chunk_rows=50_000)
    generate(data_set, tmp_path)
    run(users, tmp_path)
    assert users.fetch("SELECT lo, hi, claimable FROM keda_jobs.users_queue ORDER BY lo") == [
        (1, 20_000, 20_000),
        (20_001, 40_000, 20_000),
        (40_001, 50_000, 10_000),
        (50_001, 70_000, 20_000),
        (70_001, 90_000, 20_000),
        (90_001, 95_000, 5_000),
    ]
    check_that_all_is_loaded(users, data_set)


def test_the_table_holds_what_the_files_hold(users: Database, small: Path, tmp_path: Path) -> None:
    run(users, small)
    copied, rows = tmp_path / "copied.csv", "SELECT id, name, email FROM users ORDER BY id"
    users.do(lambda connection: connection.copy_from_query(rows, output=copied, format="csv"))
    assert copied.read_bytes() == b"".join(
        path.read_bytes().partition(b"\n")[2] for path in sorted(small.glob("*.csv"))
    )


def test_a_worker_completes_all_rows_but_the_invalid_ones(users: Database, small: Path) -> None:
    run(users, small)
    assert users.work() == 0
    assert users.fetch("SELECT batch_status, count(*) FROM users GROUP BY 1 ORDER BY 1") == [
        ("completed", 5_880),
        ("failed", 120),
    ]
    files = manifest.complete(small).files
    assert users.fetch(
        "SELECT substring(error FROM '(name|email):'), count(*) FROM users WHERE batch_status = 'failed'"
        " GROUP BY 1 ORDER BY 1"
    ) == [
        ("email", sum(file.invalid_emails for file in files)),
        ("name", sum(file.invalid_names for file in files)),
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_continues_where_it_stopped(
    users: Database, small: Path, tool: Tool, number: signal.Signals
) -> None:
    users.run(WAIT_IN_THE_THIRD_CHUNK)
    with hold_locks(users, HOLD):
        importing = tool.start("import", "--out", str(small))
        wait_for_lock(users, "COPY")
        assert users.claimable == 0
        interrupt(importing, number)
        ended = tool.finish(importing)
    if number == signal.SIGINT:
        assert ended.code == 130
        assert ended.last_line == "users-batch-seed: interrupted; the same command continues where it stopped"
        assert "Traceback" not in ended.stderr
    assert 0 < run(users, small).before < 6_000
    check_that_all_is_loaded(users)


class Cancelling(ThreadPoolExecutor):
    """Cancels the import when a call in a thread, as asyncpg makes to read, has a result for it."""

    def __init__(self, importing: asyncio.Task[Loaded]) -> None:
        super().__init__(1)
        self._importing = importing

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        def called() -> Any:
            result = call(*arguments, **options)
            self._importing.get_loop().call_soon_threadsafe(self._importing.cancel)
            return result

        return super().submit(called)


def test_an_import_cancelled_while_it_reads_a_file_closes_it(users: Database, small: Path) -> None:
    # An open file is a `ResourceWarning`, which is an error here.

    async def cancelled() -> None:
        importing = asyncio.create_task(load(users.settings, small))
        asyncio.get_running_loop().set_default_executor(Cancelling(importing))
        with pytest.raises(asyncio.CancelledError):
            await importing

    asyncio.run(cancelled())
    gc.collect()
    assert run(users, small).before < 6_000
    check_that_all_is_loaded(users)


def test_an_import_killed_before_its_first_step_has_changed_nothing(users: Database, small: Path, tool: Tool) -> None:
    with hold_locks(users, "LOCK TABLE users IN ACCESS SHARE MODE"):
        importing = tool.start("import", "--out", str(small))
        wait_for_lock(users, "LOCK TABLE users")
        interrupt(importing, signal.SIGKILL)
        tool.finish(importing)
    assert users.is_in_use
    assert run(users, small).before == 0
    check_that_all_is_loaded(users)


def test_an_import_killed_in_its_last_step_leaves_nothing_claimable_and_repeats_it(
    users: Database, small: Path, tool: Tool
) -> None:
    users.run(WAIT_IN_THE_THIRD_CHUNK)
    with ExitStack() as reading:
        with hold_locks(users, HOLD):
            importing = tool.start("import", "--out", str(small))
            wait_for_lock(users, "COPY")
            reading.enter_context(hold_locks(users, "LOCK TABLE users IN ACCESS SHARE MODE"))
        wait_for_lock(users, "ADD CONSTRAINT users_pkey")
        assert users.value("SELECT sum(rows) FROM users_seed_chunks") == 6_000
        assert users.claimable == 0
        assert users.work() == 2  # while the triggers are off
        interrupt(importing, signal.SIGKILL)
        tool.finish(importing)
    assert users.value("SELECT count(*) FROM batch_jobs") == 0
    assert run(users, small).before == 6_000
    check_that_all_is_loaded(users)


def test_a_lost_server_is_one_line_and_the_import_continues_after_its_restart(
    own_postgres_server: PostgresServer, small: Path, tool: Tool
) -> None:
    users = Database(own_postgres_server.dsn)
    tool.environment |= own_postgres_server.environment()
    assert tool("schema").code == 0
    users.run(WAIT_IN_THE_THIRD_CHUNK)
    with hold_locks(users, HOLD):
        importing = tool.start("import", "--out", str(small))
        wait_for_lock(users, "COPY")
        own_postgres_server.stop_immediately()
        ended = tool.finish(importing)
    assert ended.code == 1
    assert ended.last_line.startswith("users-batch-seed: PostgreSQL: ")
    assert "Traceback" not in ended.stderr
    own_postgres_server.start()
    assert run(users, small).before < 6_000
    check_that_all_is_loaded(users)


def test_rows_inserted_during_the_import_are_claimable_afterwards(users: Database, small: Path) -> None:
    with import_waiting_in_the_third_chunk(users, small) as importing:
        assert users.value("INSERT INTO users (name, email) VALUES ('Ada', 'a@b.de') RETURNING id") == 6_001
    assert importing.result().claimable == users.claimable == 6_001
    assert users.fetch(CLAIMABLE) == [(6_001, True)]
    assert users.value("INSERT INTO users (name, email) VALUES ('Ada', 'a@b.de') RETURNING id") == 6_002


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        ("INSERT INTO users (id, name) VALUES (2700, 'Ada')", "Key (id)=(2700) is duplicated"),
        ("DELETE FROM users WHERE id = (SELECT min(id) FROM users)", "1 rows of the data set were deleted or changed"),
        (
            "UPDATE users SET next_attempt_at = 'infinity', batch_status = 'failed'",
            "were deleted or changed",
        ),
    ],
)
def test_rows_changed_during_the_import_are_not_made_claimable(
    users: Database, small: Path, meanwhile: str, reason: str
) -> None:
    with import_waiting_in_the_third_chunk(users, small) as importing:
        users.run(meanwhile)
    with pytest.raises(JobError, match=f"{re.escape(reason)}.*reset"):
        importing.result()
    assert users.claimable == 0
    asyncio.run(tables.reset(users.settings))
    run(users, small)
    check_that_all_is_loaded(users)


def test_a_table_with_foreign_rows_is_refused_and_unchanged(users: Database, small: Path) -> None:
    users.run("INSERT INTO users (name, email) VALUES ('Ada', 'ada@example.com')")
    with pytest.raises(Misconfigured, match="rows that no import loaded; `users-batch-seed reset`"):
        run(users, small)
    assert users.is_in_use
    assert users.claimable == 1


def test_a_table_with_another_data_set_is_refused_and_unchanged(users: Database, small: Path, tmp_path: Path) -> None:
    run(users, small)
    generate(DataSet(100), tmp_path / "other")
    with pytest.raises(Misconfigured, match="users holds another data set; `users-batch-seed reset`"):
        run(users, tmp_path / "other")
    check_that_all_is_loaded(users)


def test_a_table_emptied_by_hand_is_refused(users: Database, small: Path) -> None:
    run(users, small)
    users.run("TRUNCATE users")
    with pytest.raises(Misconfigured, match="users was emptied"):
        run(users, small)


def test_a_damaged_file_is_named_and_nothing_of_it_is_kept(users: Database, small: Path) -> None:
    path = small / "users-00002.csv"
    text = path.read_bytes()
    path.write_bytes(text.replace(b"\n2500,", b"\n25x0,"))
    assert "users-00002.csv is damaged" in run_fails(users, small)
    path.write_bytes(re.sub(rb"\n(2500),(.*),", rb" \1 \2 ", text))
    assert "users-00002.csv has 999 rows instead of 1000" in run_fails(users, small)
    assert users.value("SELECT count(*) FROM users WHERE id BETWEEN 2001 AND 3000") == 0
    assert generate(SMALL, small).kept == 5_000
    run(users, small)
    check_that_all_is_loaded(users)


def test_a_folder_without_a_whole_data_set_is_refused(users: Database, small: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="holds no data set; write one with `users-batch-seed generate"):
        run(users, tmp_path)
    (small / "users-00004.csv").unlink()
    with pytest.raises(Misconfigured, match=r"users-00004\.csv differs from the manifest"):
        run(users, small)
    written = manifest.read(small)
    assert written is not None
    written.with_files(written.files[:-1]).write(small)
    with pytest.raises(Misconfigured, match="is not finished"):
        run(users, small)


def test_two_imports_do_not_run_at_once(users: Database, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with import_waiting_in_the_third_chunk(users, small) as importing:
        monkeypatch.setattr(tables, "LOCK_TIMEOUT_S", 0.1)
        assert "another import or reset is running" in run_fails(users, small)
    importing.result()
    check_that_all_is_loaded(users)


def test_a_table_that_stays_locked_is_one_line(users: Database, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "LOCK_TIMEOUT_S", 0.1)
    with hold_locks(users, "LOCK TABLE users IN ACCESS SHARE MODE"):
        assert "another transaction has held users" in run_fails(users, small)


def test_a_disk_too_small_for_the_table_is_refused_before_anything_is_changed(
    users: Database, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_disk(monkeypatch, 10**6)
    assert "too small for 6,000 rows in the database: about 2.0 MB of disk, 1.0 MB are free" in run_fails(users, small)
    assert users.is_in_use


def test_estimated_space_is_close_to_the_size_of_the_table(users: Database, tmp_path: Path) -> None:
    generate(DataSet(100_000), tmp_path)
    estimated = asyncio.run(space_in_database(users.settings, 100_000)).needed
    run(users, tmp_path)
    actual = users.value("SELECT pg_total_relation_size('users')")
    assert actual <= estimated <= 1.1 * actual


def test_a_role_without_the_owners_rights_is_refused(users: Database, small: Path) -> None:
    worker = Database(users.dsn.replace("keda_jobs@", "users_worker@"))
    with pytest.raises(Misconfigured, match="permission denied"):
        run(worker, small)


def test_an_unreachable_server_is_one_line(small: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL: "):
        run(Database("postgresql://nobody@127.0.0.1:1/nothing"), small)
