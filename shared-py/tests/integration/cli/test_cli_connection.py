"""Errors of every command when NATS is unavailable, too old, without JetStream, or refuses."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stack import NatsServer, free_port

from .conftest import Cli, Outcome, Server

COMMANDS = [
    ("dlq", "ls"),
    ("dlq", "show", "1"),
    ("dlq", "count", "--json"),
    ("dlq", "replay", "--all"),
    ("dlq", "purge", "--all", "--yes"),
    ("status",),
    ("status", "--json"),
    ("pub", "image-download", "{}"),
    ("streams", "apply"),
]


def assert_one_line(done: Outcome, code: int) -> None:
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr.startswith("keda-jobs: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_unavailable_server_is_one_line(cli: Cli, command: tuple[str, ...]) -> None:
    url = f"nats://somebody:secret@127.0.0.1:{free_port()}"

    done = cli(*command, "--server", url)

    assert_one_line(done, 1)
    assert "cannot be reached" in done.stderr
    assert "secret" not in done.stderr


def test_the_server_option_works_before_and_after_the_command(cli: Cli, server: Server) -> None:
    cli.environment["NATS_URL"] = f"nats://127.0.0.1:{free_port()}"

    assert cli("-s", server.url, "dlq", "count").code == 0
    assert cli("dlq", "count", "-s", server.url).code == 0
    assert cli("dlq", "count").code == 1


def test_a_wrong_setting_is_named(cli: Cli, tmp_path: Path) -> None:
    cli.environment["NATS_CREDS"] = str(tmp_path / "none.creds")

    done = cli("status")

    assert_one_line(done, 2)
    assert "NATS_CREDS: there is no file" in done.stderr


@contextmanager
def nats(folder: Path, extra: str) -> Iterator[str]:
    running = NatsServer(folder, extra=extra)
    running.start()
    try:
        yield running.url
    finally:
        running.kill()


def test_user_and_password_come_from_the_environment(cli: Cli, tmp_path: Path) -> None:
    with nats(tmp_path / "closed", 'authorization { user: "u", password: "right" }') as url:
        cli.environment |= {"NATS_USER": "u", "NATS_PASSWORD": "wrong"}
        refused = cli("status", "-s", url)
        cli.environment["NATS_PASSWORD"] = "right"
        let_in = cli("status", "-s", url)

    assert_one_line(refused, 1)
    assert "Authorization" in refused.stderr
    assert "there is no stream" in let_in.stderr


@pytest.mark.parametrize("extra", ["jetstream: disabled", "accounts { A { users: [{ user: u, password: p }] } }"])
def test_a_server_without_jetstream(cli: Cli, tmp_path: Path, extra: str) -> None:
    with nats(tmp_path / "plain", extra) as url:
        cli.environment |= {"NATS_USER": "u", "NATS_PASSWORD": "p"}
        for command in (("status",), ("dlq", "ls"), ("streams", "apply")):
            done = cli(*command, "-s", url)
            assert_one_line(done, 2)
            assert "has JetStream switched off" in done.stderr


def test_a_missing_right_is_distinguished_from_an_outage(cli: Cli, tmp_path: Path) -> None:
    user = '{ user: u, password: p, permissions: { publish: "image-download", subscribe: ["_INBOX_keda-jobs-cli.>"] } }'
    with nats(tmp_path / "narrow", f"authorization {{ users: [{user}] }}") as url:
        cli.environment |= {"NATS_USER": "u", "NATS_PASSWORD": "p"}
        done = cli("status", "-s", url)

    assert_one_line(done, 1)
    assert "permissions violation for publish" in done.stderr.lower()


class _OldServer(socketserver.StreamRequestHandler):
    """Server of version 2.14.9 that sends only what a client needs to connect."""

    def handle(self) -> None:
        info = {"server_id": "old", "version": "2.14.9", "max_payload": 1024, "proto": 1, "headers": True}
        self.wfile.write(f"INFO {json.dumps(info)}\r\n".encode())
        while line := self.rfile.readline():
            if line.startswith(b"PING"):
                self.wfile.write(b"PONG\r\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_server_below_the_minimum_is_refused(cli: Cli, command: tuple[str, ...]) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _OldServer) as old:
        old.daemon_threads = True
        threading.Thread(target=old.serve_forever, daemon=True).start()
        done = cli(*command, "-s", f"nats://127.0.0.1:{old.server_address[1]}")
        old.shutdown()

    assert_one_line(done, 2)
    assert "2.14.9" in done.stderr
    assert "2.15.0 is needed" in done.stderr


def test_help_and_version_need_no_server(cli: Cli) -> None:
    assert cli("--version").stdout.startswith("keda-jobs ")
    for command in (
        (),
        ("dlq",),
        ("dlq", "ls"),
        ("dlq", "replay"),
        ("dlq", "purge"),
        ("status",),
        ("pub",),
        ("streams", "apply"),
    ):
        done = cli(*command, "--help")
        assert done.code == 0
        assert "Usage: " in done.stdout


@pytest.mark.parametrize(
    "command", [("dlq", "ls"), ("dlq", "replay"), ("dlq", "purge"), ("pub",), ("streams", "apply")], ids=" ".join
)
def test_help_has_an_example(cli: Cli, command: tuple[str, ...]) -> None:
    assert f"keda-jobs {' '.join(command)} " in " ".join(cli(*command, "--help").stdout.split())
