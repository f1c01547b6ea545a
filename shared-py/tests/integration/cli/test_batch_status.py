"""`keda-jobs batch status`."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.claims import ClaimTable, schema
from keda_jobs.postgres import open_connection
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
        {"reason": "HTTP 404 for …", "rows": 3, "given_up": 2},
        {"reason": "Bad: … is no address", "rows": 2, "given_up": 2},
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
def test_a_watch_counts_once_and_stays_exact_through_random_changes(
    batch_cli: Cli, batch_table: BatchTable, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(batch_status, "_PAUSE_PER_COUNT", 1e9)
    chance = random.Random(seed)
    batch_table.fill()
    announced: list[str] = []
    reader = StatusReader(batch_table.settings, None)
    counted_at = asyncio.run(reader.read(announced.append)).full_count.at
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
        watched = asyncio.run(reader.read(announced.append))
        recounted = asyncio.run(StatusReader(batch_table.settings, None).read(announced.append))
        assert watched.counts == recounted.counts
        assert watched.full_count.at == counted_at, "the rows were not read again"
        batch_table.check()


def test_a_watch_counts_again_for_new_failures_after_a_pause(
    batch_table: BatchTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_table.insert(1, 2, 3)
    reader = StatusReader(batch_table.settings, None)
    monkeypatch.setattr(batch_status, "_PAUSE_PER_COUNT", 0)
    first = asyncio.run(reader.read(print))
    batch_table.settle(batch_table.claim(1))
    second = asyncio.run(reader.read(print))
    batch_table.settle(batch_table.claim(1), permanently=(2,), error="Bad")
    third = asyncio.run(reader.read(print))

    assert first.full_count.at == second.full_count.at < third.full_count.at
    assert [one.reason for one in third.full_count.reasons] == ["Bad"]


def test_a_truncated_table_is_counted_again(batch_table: BatchTable) -> None:
    batch_table.fill()
    reader = StatusReader(batch_table.settings, None)
    assert asyncio.run(reader.read(print)).counts.total == 10

    batch_table.rows("TRUNCATE words")
    batch_table.rows("DELETE FROM keda_jobs.batch_jobs")

    assert asyncio.run(reader.read(print)).counts.total == 0


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
