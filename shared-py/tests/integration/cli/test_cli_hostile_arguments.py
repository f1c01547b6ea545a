"""Whatever is typed as a number, a duration or a text, a command ends with an exit code and without a traceback."""

from __future__ import annotations

import pytest

from .conftest import Cli, Server

NUMBERS = ["0", "-1", "1.5", "1e400", "nan", "", " ", "\u0663", "1_0", "9" * 5000]
NUMBERS += [str(2**bits + more) for bits in (31, 32, 63, 64, 100) for more in (-1, 0)]
TIMES = ["1e400s", "9" * 400 + "s", "99999999999999d", "1" + "0" * 300 + "w", "-1s", "1", "s", "", "0s", "\u0663s"]
TIMES += ["0." + "0" * 400 + "1ms", "999999999d", "1s" * 500]
RATES = ["0", "0.0", "0." + "0" * 330 + "1", "9" * 400, "1e400", "-1", "nan", "inf", "", "/s", "0." + "0" * 323 + "5"]
TEXTS = ["", " ", "\udcff", "\x1b[2J", "a\r\nb", "*", ">", "'", '"', "\\", "$JS.API.>", "x" * 70_000, "\U0001f600"]

COMMANDS = [
    *([("dlq", command, value) for command in ("show", "replay", "purge") for value in NUMBERS]),
    *([("dlq", "ls", "--limit", value) for value in NUMBERS]),
    *(
        [
            ("dlq", *command, option, value)
            for command in (("ls",), ("count",), ("replay", "--all", "--dry-run"), ("purge", "--yes"))
            for option in ("--older-than", "--newer-than")
            for value in TIMES
        ]
    ),
    *([("dlq", "replay", "--all", "--dry-run", "--rate", value) for value in RATES]),
    *(
        [
            ("dlq", command, option, value)
            for command in ("ls", "count", "replay", "purge")
            for option in ("--job", "--subject", "--error-class")
            for value in TEXTS
        ]
    ),
    *([("pub", value, "{}") for value in TEXTS]),
    *([("cancel", "image-download", value) for value in (*NUMBERS, *TEXTS, f"image-download-{'9' * 20}-1")]),
    *([("cancel", value, "1") for value in TEXTS]),
    *([("pub", "image-download", value) for value in TEXTS]),
    *([("pub", "image-download", "--file", value) for value in TEXTS]),
    *([("pub", "image-download", "--file", "-", "--lines", value) for value in NUMBERS]),
    *([("streams", "apply", "--dry-run", "--replicas", value) for value in NUMBERS]),
    *([("streams", "apply", "--dry-run", "--jobs", value) for value in TEXTS]),
]


def assert_it_ends_well(cli: Cli, command: tuple[str, ...]) -> None:
    # An exception that is no exit is raised.
    done = cli(*command, input="https://a/b.jpg\n")

    shown = [part[:40] for part in command]
    assert done.code in (0, 1, 2), shown
    assert (done.code == 0) or done.stderr, shown
    assert "Traceback" not in done.stderr, shown


def test_no_argument_of_nats_commands_is_a_traceback(cli: Cli, server: Server) -> None:
    server.bury([b"{}"])
    for command in COMMANDS:
        assert_it_ends_well(cli, command)


@pytest.mark.parametrize("command", [("status",), ("dlq", "ls"), ("pub", "image-download", "{}")])
def test_no_server_is_a_traceback(cli: Cli, command: tuple[str, ...]) -> None:
    for value in [*TEXTS, "nats://[::1", "nats://127.0.0.1:99999999", "nats://127.0.0.1:1", "http://x", ",", "//"]:
        if value and "x" * 100 not in value:
            assert_it_ends_well(cli, (*command, "--server", value))


def test_no_argument_of_batch_commands_is_a_traceback(batch_cli: Cli, batch_table: object) -> None:
    del batch_table
    for command in (
        *(("batch", "failures", "--limit", value) for value in NUMBERS),
        *(("batch", name, "--", value) for name in ("failures", "retry", "status") for value in [*NUMBERS, *TEXTS]),
        *(("batch", name, "--reason", value) for name in ("failures", "retry") for value in TEXTS),
    ):
        assert_it_ends_well(batch_cli, command)
