"""`keda-jobs batch status`."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import json
import random
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.claims import ClaimTable, schema
from keda_jobs.claims.rows import QueueHold
from keda_jobs.postgres import Connection, open_connection
from keda_jobs.status import batch as batch_status
from keda_jobs.status.batch import StatusReader
from stack import PostgresServer, until

from .batch_table import BatchTable, waits_for_a_lock
from .conftest import Cli


def status(cli: Cli, *arguments: str) -> Any:
    return cli("batch", "status", "--json", *arguments).json


def test_rows_are_counted_by_status(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    found = status(batch_cli)

    assert (found["batch_name"], found["table"]) == ("words-batch", "words")
    assert found["rows"] == {
        "total": 10, "pending": 2, "processing": 1, "completed": 2, "waiting": 2, "given_up": 3,
    }  # fmt: skip
    assert found["claimable"] == 2
    assert found["next_retry_at"] > found["time"]


def test_an_empty_table_has_nothing_left(batch_cli: Cli, batch_table: BatchTable) -> None:
    del batch_table
    found = status(batch_cli)

    assert (found["rows"]["total"], found["claimable"], found["eta_s"]) == (0, 0, 0)
    assert "0 of 0 rows done (-), nothing left" in batch_cli("batch", "status").stdout


def test_the_status_is_shown_as_tables(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    lines = [" ".join(line.split()) for line in batch_cli("batch", "status").stdout.splitlines()]

    assert lines[0].startswith("words-batch: 5 of 10 rows done (50.0 %), ")
    for line in ("pending 2 20.0 %", "processing 1 10.0 %", "completed 2 20.0 %", "failed permanently 3 30.0 %"):
        assert line in lines
    assert "failed, waiting for a retry 2 20.0 % the next in 59m" in lines
    assert "claimable now 2 20.0 % what the scaler sees" in lines


def test_it_fits_a_narrow_terminal(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    batch_cli.environment["COLUMNS"] = "60"

    done = batch_cli("batch", "status")

    assert max(map(len, done.stdout.splitlines())) <= 60
    assert "TimeoutError: no answer" in done.stdout


def test_running_batches_are_shown_and_an_expired_one_is_marked(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 6))
    batch_table.claim(3)
    batch_table.claim(2, lease_s=0)

    found = status(batch_cli)

    alive, dead = found["running"]
    assert (alive["pod_name"], alive["claimed"], alive["completed"], alive["failed"]) == ("pod-1", 3, 0, 0)
    assert [one["is_lease_over"] for one in (alive, dead)] == [False, True]
    assert found["claimable"] == dead["claimed"] == 2, "a dead worker's rows are claimable"
    shown = batch_cli("batch", "status").stdout
    assert "9m left" in shown
    assert "expired " in shown


def test_failures_are_counted_by_reason(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 9))
    errors = (
        "Bad: no @",
        "Bad: 'ann@a.example' is no address", "Bad: 'bob@b.example' is no address", "KeyError: 'name'",
        "KeyError: 'email'", "HTTP 404 for https://a.example/1", "HTTP 404 for https://b.example/2",
    )  # fmt: skip
    for number, error in enumerate(errors, 1):
        batch_table.settle(batch_table.claim(1), permanently=(number,), error=error)
    batch_table.settle(batch_table.claim(1), waiting=(8,), error="HTTP 404 for https://c.example/3")

    found = status(batch_cli)

    assert found["reasons"] == [
        {"reason": "HTTP 404 for ...", "rows": 3, "given_up": 2},
        {"reason": "Bad: ... is no address", "rows": 2, "given_up": 2},
        {"reason": "Bad: no @", "rows": 1, "given_up": 1},
        {"reason": "KeyError: 'email'", "rows": 1, "given_up": 1},
        {"reason": "KeyError: 'name'", "rows": 1, "given_up": 1},
    ]
    assert found["other_reasons"] == 0


def test_the_ten_commonest_reasons_are_shown_and_the_others_counted(batch_cli: Cli, batch_table: BatchTable) -> None:
    words = [chr(ord("a") + number) * 3 for number in range(12)]
    batch_table.insert(*range(1, 13))
    for number, word in enumerate(words, 1):
        batch_table.settle(batch_table.claim(1), permanently=(number,), error=word)

    found = status(batch_cli)

    assert [one["reason"] for one in found["reasons"]] == words[:10]
    assert (found["other_reasons"], found["rows"]["given_up"]) == (2, 12)
    assert "and 2 other reasons" in batch_cli("batch", "status").stdout


def test_rate_and_eta_come_from_the_batches_of_the_last_minute(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 101))
    assert status(batch_cli)["eta_s"] is None, "no batch ran yet"
    for _ in range(2):
        batch_table.settle(batch_table.claim(20))
    # One that ended before, and one of which a half lies within the minute.
    batch_table.move_batch(1, began_s_ago=90, ended_s_ago=61)
    batch_table.move_batch(2, began_s_ago=100, ended_s_ago=20)

    found = status(batch_cli)

    assert found["rows_per_s"] == pytest.approx(20 / 2 / 60, abs=0.05)
    assert found["eta_s"] == pytest.approx(60 / (20 / 2 / 60), rel=0.3)


def test_the_eta_includes_the_last_waiting_retry(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(1, 2)
    batch_table.settle(batch_table.claim(2), waiting=(2,))

    found = status(batch_cli)

    assert found["rows_per_s"] > 0
    assert 3500 < found["eta_s"] <= 3600


@pytest.mark.parametrize("seed", range(3))
def test_the_status_agrees_with_a_full_count_through_random_changes(
    batch_cli: Cli, batch_table: BatchTable, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(batch_status, "_PAUSE_PER_READ", 1e9)
    chance = random.Random(seed)
    batch_table.fill()
    reader = StatusReader(batch_table.settings, None)
    read_at = asyncio.run(reader.read()).failures.at
    highest, batches = 10, []

    for _ in range(25):
        match chance.choice(("insert", "claim", "settle", "retry", "due")):
            case "insert":
                batch_table.insert(*range(highest + 1, highest + 4))
                highest += 3
            case "claim" if batch := batch_table.queue(lambda queue: queue.claim(chance.randint(1, 4))):
                batches.append(batch)
            case "settle" if batches:
                batch = batches.pop()
                outcomes = {row.key: chance.choice(("completed", "failed", "waiting")) for row in batch.rows}
                batch_table.settle(
                    batch,
                    permanently=[key for key, outcome in outcomes.items() if outcome == "failed"],
                    waiting=[key for key, outcome in outcomes.items() if outcome == "waiting"],
                )
            case "retry":
                keys = [str(key) for key in range(1, highest) if chance.random() < 0.2]
                batch_cli("batch", "retry", "--yes", *keys, chance.choice(("--given-up", "--waiting")))
            case "due":
                batch_table.make_due()
        watched = asyncio.run(reader.read())
        counted = collections.Counter(batch_table.statuses().values())
        names = ("pending", "processing", "completed", "waiting", "failed permanently")
        assert dataclasses.astuple(watched.counts) == tuple(counted[name] for name in names)
        assert asyncio.run(StatusReader(batch_table.settings, None).read()).counts == watched.counts
        assert watched.failures.at == read_at, "the failed rows were not read again"
        batch_table.check()


def test_a_watch_reads_failed_rows_again_after_a_pause(
    batch_table: BatchTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_table.insert(1, 2, 3)
    reader = StatusReader(batch_table.settings, None)
    monkeypatch.setattr(batch_status, "_PAUSE_PER_READ", 1e9)
    first = asyncio.run(reader.read())
    batch_table.settle(batch_table.claim(1), permanently=(1,), error="Bad")
    second = asyncio.run(reader.read())
    monkeypatch.setattr(batch_status, "_PAUSE_PER_READ", 0)
    third = asyncio.run(reader.read())

    assert first.failures == second.failures
    assert [one.reason for one in third.failures.reasons] == ["Bad"]
    assert second.counts == third.counts


def test_a_truncated_table_has_nothing_left(batch_table: BatchTable) -> None:
    batch_table.fill()
    reader = StatusReader(batch_table.settings, None)
    assert asyncio.run(reader.read()).counts.total == 10

    batch_table.rows("TRUNCATE words")
    batch_table.rows("DELETE FROM keda_jobs.batch_jobs")

    assert asyncio.run(reader.read()).counts.total == 0


_FAR = ("infinity", "-infinity", "4713-01-01 BC", "0001-01-01", "9999-12-31 23:59:59.999999-14", "20204-01-01")


def test_times_that_python_cannot_hold_are_shown_and_retried(
    batch_cli: Cli, batch_table: BatchTable, database: str
) -> None:
    batch_table.rows(f"ALTER DATABASE {database} SET datestyle = 'German, DMY'")
    batch_table.rows(f"ALTER DATABASE {database} SET timezone = 'Europe/Berlin'")
    batch_table.insert(*range(1, len(_FAR) + 1))
    batch_table.settle(batch_table.claim(10), waiting=range(1, len(_FAR) + 1), error="TimeoutError: no answer")
    for key, moment in enumerate(_FAR, 1):
        batch_table.rows("UPDATE words SET next_attempt_at = $2::text::timestamptz WHERE word_id = $1", key, moment)

    found = status(batch_cli)
    assert (found["rows"]["waiting"], found["rows"]["given_up"], found["claimable"]) == (5, 1, 3)
    assert found["next_retry_at"] == "0001-01-02T00:00:00+00:00"
    assert found["reasons"] == [{"reason": "TimeoutError: no answer", "rows": 6, "given_up": 1}]
    shown = batch_cli("batch", "failures", "--json").json
    assert [row["given_up"] for row in shown] == [True, *[False] * 5]
    assert shown[5]["next_attempt_at"] == "9999-12-30T00:00:00+00:00"
    for command in (("status",), ("status", "--json"), ("failures",), ("retry", "--all", "--dry-run")):
        assert batch_cli("batch", *command).code == 0
    assert batch_cli("batch", "retry", "--all", "--yes", "--json").json["reset"] == 6
    batch_table.check()


def test_only_failed_rows_are_read(batch_cli: Cli, batch_table: BatchTable) -> None:
    """Compare the pages of the table that a command reads with those that the table has."""
    batch_table.rows("ALTER TABLE words SET (autovacuum_enabled = off)")
    batch_table.insert(*range(1, 8001))
    batch_table.settle(batch_table.claim(8000), permanently=(5, 500), waiting=(50,))
    ((size,),) = batch_table.rows("SELECT pg_relation_size('words') / current_setting('block_size')::int")

    async def pages_read(connection: Connection) -> int:
        """Wait until the other server processes have ended, which report their numbers then."""

        async def is_alone() -> bool:
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = $1"
            return bool(await connection.fetchval(others, "client backend") == 1)

        await until(is_alone)
        return int(
            await connection.fetchval(
                "SELECT heap_blks_read + heap_blks_hit FROM pg_statio_user_tables WHERE relname = 'words'"
            )
        )

    before = batch_table.do(pages_read)
    for command in (("status",), ("failures",), ("failures", "--limit", "1"), ("retry", "--all", "--yes")):
        assert batch_cli("batch", *command).code == 0
        after = batch_table.do(pages_read)
        assert after - before < 40 < 100 < size, command
        before = after


def test_rows_that_no_worker_gets_are_told_once_they_were_looked_for(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 11))
    assert status(batch_cli)["stranded_rows"] == 0, "those who apply the schema look"
    batch_table.rows("DELETE FROM keda_jobs.words_queue_checks")
    assert "never compared with the rows: keda-jobs batch check" in batch_cli("batch", "status").stdout
    assert status(batch_cli)["stranded_rows"] is None
    batch_table.rows("DELETE FROM keda_jobs.words_queue")

    assert batch_cli("batch", "check").code == 1
    found = batch_cli("batch", "status").stdout
    assert "no worker gets 10 rows more (checked 0s ago): keda-jobs batch check --repair" in found
    assert status(batch_cli)["stranded_rows"] == 10
    assert batch_cli("batch", "check", "--repair").code == 0
    assert "compared with the rows 0s ago: no row is missing" in batch_cli("batch", "status").stdout


def test_a_hold_is_shown_with_its_reason_until_it_ends(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(*range(1, 11))
    found = status(batch_cli)
    assert (found["claimable"], found["held_until"], found["hold_reason"]) == (10, None, None)
    batch_table.queue(lambda queue: queue.hold(QueueHold(3600, "PlatformError: quota\x1b[2J used up")))

    found = status(batch_cli)
    assert (found["claimable"], found["rows"]["pending"]) == (0, 10)
    assert found["held_until"] > found["time"]
    shown = batch_cli("batch", "status").stdout
    assert re.search(r"held until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, in 59m: PlatformError: quota", shown)
    assert "\x1b[2J" not in shown

    batch_table.rows("UPDATE keda_jobs.words_queue_holds SET held_until = now()")
    assert status(batch_cli)["claimable"] == 10


def test_one_of_several_queues_must_be_named(batch_cli: Cli, batch_table: BatchTable, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "0001_others.sql").write_text("CREATE TABLE others (id bigint PRIMARY KEY)")
    batch_table.do(lambda connection: schema.apply(connection, ClaimTable("others-batch", "others"), folder))

    unnamed, unknown = batch_cli("batch", "status"), batch_cli("batch", "status", "nobody")

    assert (unnamed.code, unnamed.stderr) == (
        2,
        "keda-jobs: the database has several batch jobs; pass one of others-batch, words-batch\n",
    )
    assert unknown.code == 2
    assert unknown.stderr == "keda-jobs: there is no batch job nobody; pass one of others-batch, words-batch\n"
    assert status(batch_cli, "others-batch")["table"] == "others"


@pytest.mark.parametrize("command", [("status",), ("failures",), ("retry", "--all")])
def test_a_database_without_a_queue_is_reported_in_one_line(
    batch_cli: Cli, postgres_server: PostgresServer, command: tuple[str, ...]
) -> None:
    batch_cli.environment["PG_DSN"] = postgres_server.dsn

    done = batch_cli("batch", *command)

    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "keda-jobs: the database has no claim queue; apply the job's schema first\n"


@pytest.mark.parametrize(
    ("dsn", "code", "words"),
    [
        ("", 2, "PG_DSN is not set"),
        ("postgresql://nobody:hunter2@127.0.0.1:1/x", 1, "PostgreSQL: "),
        ("host=somewhere password=hunter2", 2, "PG_DSN: must be a URL"),
    ],
)
def test_a_connection_error_is_reported_in_one_line_without_the_password(
    batch_cli: Cli, dsn: str, code: int, words: str
) -> None:
    batch_cli.environment["PG_DSN"] = dsn

    done = batch_cli("batch", "status")

    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hunter2" not in done.stderr


def test_the_scaler_s_role_is_told_which_right_it_lacks(
    batch_cli: Cli, batch_table: BatchTable, postgres_server: PostgresServer, database: str
) -> None:
    del batch_table
    batch_cli.environment["PG_DSN"] = postgres_server.dsn_of(database, "words_scaler")

    done = batch_cli("batch", "status")

    assert done.code == 2
    assert "permission denied for table batch_queues" in done.stderr


def test_a_watch_without_a_terminal_prints_lines(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    watch = batch_cli.start("batch", "status", "--watch")
    assert watch.stdout is not None

    first, second = watch.stdout.readline(), watch.stdout.readline()

    assert "words-batch: 5 of 10 rows done (50.0 %), 3 failed permanently, " in first
    assert second[9:] == first[9:] or "rows/s" in second
    watch.send_signal(signal.SIGINT)
    assert batch_cli.finish(watch).code == 0


def test_a_watch_continues_after_a_restart_of_the_server(
    own_postgres_server: PostgresServer, batch_cli: Cli, tmp_path: Path
) -> None:
    table = BatchTable(own_postgres_server.dsn)
    table.make(tmp_path / "words")
    table.insert(1, 2, 3)
    batch_cli.environment["PG_DSN"] = table.dsn
    watch = batch_cli.start("batch", "status", "--watch", "--json")
    assert watch.stdout is not None
    assert watch.stderr is not None
    first = json.loads(watch.stdout.readline())

    own_postgres_server.stop_immediately()
    assert watch.stderr.readline().startswith("PostgreSQL: ")
    own_postgres_server.start()
    table.settle(table.claim(2), permanently=(2,))
    while (found := json.loads(watch.stdout.readline()))["rows"]["completed"] == 0:
        pass

    assert found["rows"] == {**first["rows"], "pending": 1, "completed": 1, "given_up": 1}
    watch.send_signal(signal.SIGINT)
    done = batch_cli.finish(watch)
    assert done.code == 0
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [((), 130), (("--watch",), 0)])
def test_an_interrupted_count_is_cancelled_in_the_server(
    batch_cli: Cli, batch_table: BatchTable, arguments: tuple[str, ...], code: int
) -> None:
    async def work() -> None:
        async with (
            open_connection(batch_table.settings, name="holder") as holder,
            open_connection(batch_table.settings, name="test") as watching,
            holder.transaction(),
        ):
            await holder.execute("LOCK TABLE words")
            process = batch_cli.start("batch", "status", *arguments)
            await until(lambda: waits_for_a_lock(watching))
            process.send_signal(signal.SIGINT)
            done = await asyncio.to_thread(batch_cli.finish, process)
            assert (done.code, done.stdout, done.stderr) == (code, "", "")
            assert not await waits_for_a_lock(watching)

    asyncio.run(work())
