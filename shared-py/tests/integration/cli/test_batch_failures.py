"""`keda-jobs batch failures`."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from keda_jobs.cli.batch import failures
from stack import PostgresServer

from .batch_table import BatchTable
from .conftest import Cli


def keys(cli: Cli, *arguments: str) -> list[int]:
    return [row["key"] for row in cli("batch", "failures", "--json", *arguments).json]


def test_failed_rows_are_listed_in_key_order(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    done = batch_cli("batch", "failures")

    rows = [line.split() for line in done.stdout.splitlines()[2:]]
    assert [row[0] for row in rows] == ["3", "4", "5", "6", "7"]
    assert rows[0][1:] == ["1", "never", "1", "Bad:", "email:", "missing"]
    assert rows[3][1:] == ["1", "in", "59m", "3", "TimeoutError:", "no", "answer"]
    assert done.stdout.splitlines()[0].split()[0] == "word_id"
    assert done.stderr == "5 rows failed\n"


def test_json_has_the_documented_keys(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    permanent, *_, waiting = batch_cli("batch", "failures", "--json").json

    assert permanent == {
        "key": 3, "attempts": 1, "next_attempt_at": None, "given_up": True, "batch_id": 1,
        "error": "Bad: email: missing",
    }  # fmt: skip
    assert (waiting["key"], waiting["given_up"]) == (7, False)
    assert datetime.fromisoformat(waiting["next_attempt_at"]).utcoffset() == timedelta(0)


def test_without_failures_the_list_is_empty(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(1)

    assert batch_cli("batch", "failures").stderr == "0 rows failed\n"
    assert batch_cli("batch", "failures", "--json").json == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("--given-up",), [3, 4, 5]),
        (("--waiting",), [6, 7]),
        (("--reason", "Bad"), [3, 4, 5]),
        (("--reason", "email: miss"), [3, 4]),
        (("--reason", "%"), []),
        (("--reason", "Bad_ email"), []),
        (("--reason", "Bad: ... is no word"), [5]),
        (("--reason", "Bad: ..."), [3, 4, 5]),
        (("--reason", "Bad", "--waiting"), []),
        (("4", "6"), [4, 6]),
        (("words-batch", "7", "--waiting"), [7]),
        (("words-batch",), [3, 4, 5, 6, 7]),
    ],
)
def test_filters_select_rows(
    batch_cli: Cli, batch_table: BatchTable, filters: tuple[str, ...], expected: list[int]
) -> None:
    batch_table.fill()

    assert keys(batch_cli, *filters) == expected


@pytest.mark.parametrize("page", [1, 2, 3, 1000])
def test_the_first_rows_are_shown_and_all_are_counted(
    batch_cli: Cli, batch_table: BatchTable, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(failures, "_PAGE", page)
    batch_table.fill()

    cut = batch_cli("batch", "failures", "--limit", "3")

    assert cut.stderr == "5 rows failed, the first 3 shown (--limit 0: all)\n"
    assert batch_cli("batch", "failures", "--limit", "5").stderr == "5 rows failed\n"
    assert keys(batch_cli, "--limit", "3") == [3, 4, 5]
    assert keys(batch_cli, "--limit", "0") == keys(batch_cli) == [3, 4, 5, 6, 7]


def test_a_key_that_did_not_fail_is_named(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()

    done = batch_cli("batch", "failures", "1", "3", "4711")

    assert done.code == 1
    assert done.stderr.splitlines() == [
        "1 row failed",
        "1 is not among these failed rows",
        "4711 is not among these failed rows",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("3", "words-batch"), "'words-batch' is not the key of a row"),
        (("words-batch", "x"), "'x' is not the key of a row"),
        (("9223372036854775808",), "is not the key of a row"),
        (("--given-up", "--waiting"), "exclude each other"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(
    batch_cli: Cli, batch_table: BatchTable, arguments: tuple[str, ...], words: str
) -> None:
    del batch_table
    done = batch_cli("batch", "failures", *arguments)

    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_error_cannot_control_the_terminal(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.insert(1)
    batch_table.settle(batch_table.claim(1), permanently=(1,), error="\x1b]0;owned\x07 \x9b31m \x7f\r\nnext [red]x[/]")

    shown = "".join(
        batch_cli("batch", *command).stdout for command in (("failures",), ("status",), ("retry", "--all", "--dry-run"))
    )

    assert not [char for char in shown if not char.isprintable() and char != "\n"]
    assert "[red]x[/]" in shown


@pytest.mark.parametrize("role", ["words_worker", "keda_jobs_operator"])
def test_the_roles_of_workers_and_of_people_on_call_may_list_failures(
    batch_cli: Cli, batch_table: BatchTable, postgres_server: PostgresServer, database: str, role: str
) -> None:
    batch_table.fill()
    batch_cli.environment["PG_DSN"] = postgres_server.dsn_of(database, role)

    assert keys(batch_cli) == [3, 4, 5, 6, 7]
    assert batch_cli("batch", "status").code == 0


def test_rows_set_aside_are_listed_and_retried(batch_cli: Cli, batch_table: BatchTable) -> None:
    batch_table.fill()
    batch_table.insert(21, 22, 23)
    batch_table.rows("UPDATE words SET word = 'bad' WHERE word_id IN (6, 22)")
    batch_table.rows("ALTER TABLE words ADD CONSTRAINT good CHECK (word <> 'bad') NOT VALID")
    batch_table.queue(lambda queue: queue.claim(10_000))
    refusal = 'RowRefused: new row for relation "words" violates check constraint "good"'

    rows = batch_cli("batch", "failures", "--json", "--reason", "RowRefused").json

    assert [(row["key"], row["attempts"], row["given_up"], row["error"]) for row in rows] == [(22, 1, False, refusal)]
    assert "RowRefused" in batch_cli("batch", "failures", "22").stdout
    assert batch_cli("batch", "failures").stderr == "6 rows failed\n"
    assert keys(batch_cli, "--limit", "6") == [3, 4, 5, 6, 7, 22]
    # The command gets past a row that cannot be reset.
    done = batch_cli("batch", "retry", "--all", "--yes", "--json").json
    assert (done["found"], done["reset"]) == (6, 5)
    batch_table.rows("ALTER TABLE words DROP CONSTRAINT good")
    assert batch_table.rows("SELECT lo FROM keda_jobs.words_queue WHERE error IS NOT NULL") == []
    assert batch_cli("batch", "retry", "6", "--yes").code == 0
