"""A command, or a shell, with port-forwards to the cluster's NATS and to the service that PG_DSN names.

The command finds them by NATS_URL, NATS_USER, NATS_PASSWORD and PG_DSN.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import IO

from cluster import database, env_file
from cluster.errors import ClusterError, run
from cluster.kubernetes import decoded, kubectl
from stack.waiting import wait_until

_NAMESPACE = "nats"
_DEADLINE_S = 20.0
_LISTENS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """Forward a port of 127.0.0.1 to `port` of a service during the block. Raises `ClusterError`."""
    command = ["kubectl", "port-forward", f"--namespace={namespace}", "--address=127.0.0.1", f"service/{service}"]
    with tempfile.TemporaryFile() as log:  # an unread pipe would be full after some thousand connections
        process = subprocess.Popen(
            [*command, f":{port}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the command
        )
        try:
            yield _port(process, log, f"service {service} of namespace {namespace}")
        finally:
            process.terminate()
            process.wait()


def _port(process: subprocess.Popen[bytes], log: IO[bytes], what: str) -> int:
    """Return the port that `process` listens on."""

    def output() -> str:
        return os.pread(log.fileno(), 4096, 0).decode()

    try:
        wait_until(lambda: _LISTENS.search(output()) or process.poll() is not None, _DEADLINE_S)
    except TimeoutError:
        raise ClusterError(f"{what}: no port-forward within {_DEADLINE_S:g} s") from None
    listens = _LISTENS.search(output())
    if listens is None:
        raise ClusterError(f"{what} cannot be reached: {_last_line(output())}")
    return int(listens[1])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["kubectl port-forward ended"])[-1].removeprefix("error: ")


@contextmanager
def connected() -> Iterator[dict[str, str]]:
    """Yield the variables by which a command finds the cluster's servers. Raises `ClusterError`."""
    admin = decoded(json.loads(kubectl("get", "secret", "nats-admin", "--namespace", _NAMESPACE, "--output=json")))
    dsn = env_file.values().get("PG_DSN")
    with ExitStack() as forwards:
        port = forwards.enter_context(forwarded(_NAMESPACE, "nats", 4222))
        environment = {**admin, "NATS_URL": f"nats://127.0.0.1:{port}"}
        if dsn:
            environment["PG_DSN"] = _forwarded_dsn(dsn, forwards)
        yield environment


def _forwarded_dsn(dsn: str, forwards: ExitStack) -> str:
    """Return `dsn`, through a port-forward if it names a service of the cluster."""
    try:
        parts = database.read(dsn)
    except ClusterError:
        return dsn  # the command may understand it
    if parts.service is None:
        return dsn
    service, namespace = parts.service
    try:
        return parts.on_local_port(forwards.enter_context(forwarded(namespace, service, parts.port)))
    except ClusterError as error:  # most commands need NATS only
        print(f"connect: no PG_DSN: {error}", file=sys.stderr)
        return dsn


def run_command(command: list[str], environment: dict[str, str]) -> int:
    """Run `command`, pass Ctrl-C and SIGTERM on to it, and return its exit code as a shell does."""
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if process is not None:
            process.send_signal(number)

    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sends it to the command too
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
    except OSError as error:
        raise ClusterError(f"{command[0]}: {error.strerror}") from None
    code = process.wait()
    return code if code >= 0 else 128 - code


def _main() -> int:
    command = sys.argv[1:]
    with connected() as environment:
        if not command:
            print(f"connect: NATS is at {environment['NATS_URL']}; leave with `exit`", file=sys.stderr)
        return run_command(command or [os.environ.get("SHELL", "sh")], environment)


if __name__ == "__main__":
    sys.exit(run("connect", _main))
