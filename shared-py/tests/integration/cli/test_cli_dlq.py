"""`keda-jobs dlq ls | show | count | purge`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keda_jobs.cli.dlq import listing
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream import reader

from .conftest import Cli, Server


def test_ls_shows_each_dead_letter_with_its_reason_and_data(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b'{"url": "http://a/1.jpg"}'])

    done = cli("dlq", "ls")

    row = next(line for line in done.stdout.splitlines() if line.lstrip().startswith(str(sequence)))
    assert row.split()[2:6] == ["image-download", "image-download", "15", "NotFound"]
    assert "404 for the picture" in row
    assert '{"url": "http://a/1.jpg"}' in row
    assert done.stderr == "1 dead letter\n"


def test_ls_fits_the_width_of_a_narrow_terminal(cli: Cli, server: Server) -> None:
    server.bury([json.dumps({"url": "http://a/" + "x" * 300}).encode()])
    cli.environment["COLUMNS"] = "80"

    done = cli("dlq", "ls")

    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "NotFound: 404 for the picture" in done.stdout
    assert '{"url": "http://a/xx' in done.stdout


def test_ls_json_has_the_documented_keys(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury(
        [b'{"url": "http://a/1.jpg"}'], headers={"Trace": "t1", "Nats-Expected-Stream": "keda-jobs-events"}
    )

    (dead_letter,) = cli("dlq", "ls", "--json").json

    assert dead_letter.pop("died_at").startswith("20")
    assert dead_letter.pop("published_at").startswith("20")
    assert dead_letter == {
        "sequence": sequence,
        "job": "image-download",
        "subject": "image-download",
        "num_delivered": 15,
        "error_class": "NotFound",
        "reason": "NotFound: 404 for the picture",
        "data_kind": "json",
        "data": {"url": "http://a/1.jpg"},
        "headers": {"Trace": "t1"},
    }


def test_ls_shows_the_newest_and_the_total(cli: Cli, server: Server) -> None:
    sequences = server.bury([b'{"n": %d}' % n for n in range(40)])

    done = cli("dlq", "ls", "--limit", "3", "--json")
    shown = cli("dlq", "ls", "--limit", "3")

    assert [dead_letter["sequence"] for dead_letter in done.json] == sorted(sequences)[-3:]
    assert shown.stderr == "40 dead letters, the newest 3 shown (--limit 0: all)\n"
    assert len(cli("dlq", "ls", "--limit", "0", "--json").json) == 40


def test_ls_prints_each_page_before_it_reads_the_next(
    cli: Cli, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python tests/bench/dead_letters.py` measures a million."""
    server.bury([b'{"n": %d}' % n for n in range(5)])
    read_page, pages = reader.read_page, iter(range(2))

    async def read_two_pages(*arguments: Any) -> reader.Page:
        if next(pages, None) is None:
            raise BrokerUnavailable("NATS is gone")
        return await read_page(*arguments)

    monkeypatch.setattr(listing, "_PAGE", 2)
    monkeypatch.setattr(reader, "_PAGE_SIZE", 2)
    monkeypatch.setattr(reader, "read_page", read_two_pages)
    listed = cli("dlq", "ls", "--limit", "0", "--json")
    assert listed.code == 1
    assert "NATS is gone" in listed.stderr
    assert [line.startswith("  {") for line in listed.stdout.splitlines()] == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (("--job", "image-resize"), {"resize"}),
        (("--subject", "image-downloaded"), {"resize"}),
        (("--error-class", "Timeout"), {"late"}),
        (("--job", "image-download", "--error-class", "NotFound"), {"missing"}),
        (("--newer-than", "1h"), {"resize", "late", "missing"}),
        (("--older-than", "1h"), set()),
        (("--older-than", "0s", "--newer-than", "1h30m"), {"resize", "late", "missing"}),
        (("--job", "nobody"), set()),
    ],
)
def test_filters_select(cli: Cli, server: Server, filters: tuple[str, ...], expected: set[str]) -> None:
    server.bury([b'{"what": "missing"}'])
    server.bury([b'{"what": "late"}'], error_class="Timeout")
    server.bury([b'{"what": "resize"}'], subject="image-downloaded", job="image-resize", error_class="Bomb")

    dead_letters = cli("dlq", "ls", "--json", *filters).json

    assert {dead_letter["data"]["what"] for dead_letter in dead_letters} == expected
    assert cli("dlq", "count", "--json", *filters).json["total"] == len(expected)


def test_count_groups_by_job_error_and_subject(cli: Cli, server: Server) -> None:
    server.bury([b"{}"] * 2)
    server.bury([b"{}"], job="image-resize", error_class="Bomb")

    assert cli("dlq", "count", "--json").json == {
        "total": 3,
        "groups": [
            {"job": "image-download", "error_class": "NotFound", "subject": "image-download", "count": 2},
            {"job": "image-resize", "error_class": "Bomb", "subject": "image-download", "count": 1},
        ],
    }
    assert "Bomb" in cli("dlq", "count").stdout


def test_show_prints_a_whole_dead_letter(cli: Cli, server: Server) -> None:
    (sequence,) = server.bury([b'{"url": "http://a/1.jpg"}'], headers={"Trace": "t1"})

    done = cli("dlq", "show", str(sequence))

    assert done.code == 0
    for part in ("NotFound: 404 for the picture", "header Trace", "t1", '"url": "http://a/1.jpg"', "15"):
        assert part in done.stdout
    assert cli("dlq", "show", str(sequence), "--json").json["data"] == {"url": "http://a/1.jpg"}


def test_show_of_another_message_is_one_line(cli: Cli, server: Server) -> None:
    sequence = server.publish("image-download", b"{}")

    for number in (sequence, 4711):
        done = cli("dlq", "show", str(number))
        assert (done.code, done.stdout) == (1, "")
        assert done.stderr == f"keda-jobs: there is no dead letter {number}; see `keda-jobs dlq ls`\n"


def test_a_dead_letter_cannot_control_the_terminal(cli: Cli, server: Server) -> None:
    evil = b"\x1b]0;owned\x07 \x9b31m \xc2\x9b31m \x7f\r\nnext"
    (sequence,) = server.bury([evil], headers={"Trace": "a\x1b[2Jb"})
    server.publish("dead-letter", b'{"subject": "\\u001b[2J", "data": "\\u009b2J"}', {"Keda-Jobs-Job": "\x1b[2J"})

    shown = cli("dlq", "ls").stdout + cli("dlq", "show", str(sequence)).stdout + cli("dlq", "count").stdout

    assert not [char for char in shown if not char.isprintable() and char != "\n"]


def test_a_foreign_dead_letter_is_shown_as_it_is(cli: Cli, server: Server) -> None:
    sequence = server.publish("dead-letter", b"just text \xff")

    (dead_letter,) = cli("dlq", "ls", "--json").json

    assert (dead_letter["sequence"], dead_letter["data"], dead_letter["job"]) == (sequence, "just text \\xff", "")
    assert "just text" in cli("dlq", "ls").stdout


def test_reading_leaves_no_consumer_behind(cli: Cli, server: Server) -> None:
    server.bury([b"{}"] * 3)
    before = server.api("CONSUMER.NAMES.keda-jobs-events", {})["consumers"]

    cli("dlq", "ls")
    cli("dlq", "count")

    assert before
    assert server.api("CONSUMER.NAMES.keda-jobs-events", {})["consumers"] == before


def test_purge_asks_and_no_means_no(cli: Cli, server: Server) -> None:
    server.bury([b"{}"] * 2)

    done = cli("dlq", "purge", "--all")

    assert done.code == 2
    assert "pass --yes" in done.stderr
    assert "NotFound" in done.stdout
    assert server.count("dead-letter") == 2


def test_purge_deletes_only_what_the_filter_selects(cli: Cli, server: Server) -> None:
    server.bury([b"{}"] * 3)
    kept = server.bury([b"{}"], error_class="Timeout")

    done = cli("dlq", "purge", "--error-class", "NotFound", "--yes", "--json")

    assert done.json == {"dry_run": False, "found": 3, "deleted": 3, "interrupted": False}
    assert [message.seq for message in server.stored("dead-letter")] == kept
    assert server.count("image-download") == 4


def test_purge_by_number(cli: Cli, server: Server) -> None:
    first, second = server.bury([b"1", b"2"])

    done = cli("dlq", "purge", str(first), "4711", "--yes")

    assert done.code == 1
    assert "4711 is not among these dead letters" in done.stderr
    assert [message.seq for message in server.stored("dead-letter")] == [second]


def test_purge_never_deletes_another_message(cli: Cli, server: Server) -> None:
    sequence = server.publish("image-download", b"{}")

    assert cli("dlq", "purge", str(sequence), "--yes").code == 1
    assert server.count("image-download") == 1


def test_purge_dry_run_deletes_nothing(cli: Cli, server: Server) -> None:
    server.bury([b"{}"])

    done = cli("dlq", "purge", "--all", "--dry-run")

    assert (done.code, server.count("dead-letter")) == (0, 1)
    assert done.stderr == "1 dead letter would be deleted\n"


@pytest.mark.parametrize("command", ["replay", "purge"])
def test_all_dead_letters_need_the_option_all(cli: Cli, server: Server, command: str) -> None:
    server.bury([b"{}"])

    done = cli("dlq", command)

    assert done.code == 2
    assert done.stderr == "keda-jobs: no dead letters selected: pass SEQ, a filter, or --all\n"
    assert server.count("dead-letter") == 1


@pytest.mark.parametrize("arguments", [("--older-than", "yesterday"), ("--newer-than", "1x"), ("--limit", "-1")])
def test_a_wrong_value_is_named(cli: Cli, arguments: tuple[str, str]) -> None:
    done = cli("dlq", "ls", *arguments)

    assert done.code == 2
    assert arguments[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_stream_the_remedy_is_named(cli: Cli, bare_server: Server) -> None:
    done = cli("dlq", "ls")

    assert done.code == 1
    assert done.stderr == (
        "keda-jobs: there is no stream keda-jobs-events on this server: make it with `keda-jobs streams apply`\n"
    )
