"""A command, or a shell, with port-forwards to the cluster's NATS and to the service that PG_DSN names.

The command finds them by NATS_URL, NATS_USER, NATS_PASSWORD and PG_DSN. Whoever may read the administrator's login of
NATS gets that, others get the login of people on call. Without a PG_DSN of your own it is the one of people on call. It
trusts the authorities that pods trust, by the variables of the ConfigMap `trust`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO
from urllib.parse import urlsplit

import environments
from cluster import database, env_file
from cluster.errors import ClusterError, Forbidden, run
from cluster.kubernetes import decoded, kubectl, kubectl_command
from cluster.nats_logins import ADMIN, OPERATOR
from stack.process import shell_status
from stack.waiting import wait_until

TRUST, AUTHORITIES = "trust", "ca"
"""ConfigMaps with the variables that name a file of authorities, and with that file, `ca.crt`."""

_PORT = 4222
_DEADLINE_S = 20.0
_AGAIN_S = 0.5
_LISTENS = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ")


class Unreachable(ClusterError):
    """A service has no pod that answers, or none yet."""


def is_in_cluster() -> bool:
    """Return whether this runs in a pod of the cluster, whose services it reaches by name."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ


@contextmanager
def reached(namespace: str, service: str, port: int) -> Iterator[tuple[str, int]]:
    """Yield host and port of a service: its name in a pod, elsewhere a port-forward. Raises `Unreachable`."""
    if is_in_cluster():
        yield f"{service}.{namespace}.svc", port
        return
    with forwarded(namespace, service, port) as local:
        yield "127.0.0.1", local


@contextmanager
def forwarded(namespace: str, service: str, port: int) -> Iterator[int]:
    """Forward a port of 127.0.0.1 to `port` of a service during the block. Raises `Unreachable`.

    kubectl ends with the pod that it has chosen. Then it is started again, on the same port.
    """
    forward = _Forward(namespace, service, port)
    try:
        yield forward.port
    finally:
        forward.end()


class _Forward:
    """Port-forward to a service, until `end`."""

    def __init__(self, namespace: str, service: str, port: int) -> None:
        self._command = kubectl_command(
            "port-forward", f"--namespace={namespace}", "--address=127.0.0.1", f"service/{service}"
        )
        self._ended = threading.Event()
        with tempfile.TemporaryFile() as log:
            self._process = self._start(f":{port}", log)
            try:
                self.port = _port(self._process, log, f"service {service} of namespace {namespace}")
            except Unreachable:
                self._stop()
                raise
        self._ports = f"{self.port}:{port}"
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()

    def end(self) -> None:
        """End kubectl, and do not start it again."""
        self._ended.set()
        self._keeper.join()
        self._stop()

    def _keep(self) -> None:
        while not self._ended.wait(_AGAIN_S):
            if self._process.poll() is not None:
                self._process = self._start(self._ports, subprocess.DEVNULL)

    def _start(self, ports: str, log: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self._command, ports],
            stdin=subprocess.DEVNULL,
            stdout=log,  # no pipe: an unread one would be full after some thousand connections
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the command
        )

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait()


def _port(process: subprocess.Popen[bytes], log: IO[bytes], what: str) -> int:
    """Return the port that `process` listens on."""

    def output() -> str:
        return os.pread(log.fileno(), 4096, 0).decode()

    try:
        wait_until(lambda: _LISTENS.search(output()) or process.poll() is not None, _DEADLINE_S)
    except TimeoutError:
        raise Unreachable(f"{what}: no port-forward within {_DEADLINE_S:g} s") from None
    listens = _LISTENS.search(output())
    if listens is None:
        raise Unreachable(f"{what} cannot be reached: {_last_line(output())}")
    return int(listens[1])


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["kubectl port-forward ended"])[-1].removeprefix("error: ")


@contextmanager
def connected() -> Iterator[dict[str, str]]:
    """Yield the variables by which a command finds the cluster's servers. Raises `ClusterError`."""
    dsn = env_file.values().get("PG_DSN") or _operators_dsn()
    with ExitStack() as forwards:
        environment = _nats(forwards) | forwards.enter_context(_trust())
        if dsn:
            environment["PG_DSN"] = database.trusting(_forwarded_dsn(dsn, forwards), environment.get("PGSSLROOTCERT"))
        yield environment


@contextmanager
def _trust() -> Iterator[dict[str, str]]:
    """Yield the variables of the ConfigMap `trust`, for a copy of the authorities in the ConfigMap `ca`.

    A pod has both already. Raises `ClusterError`.
    """
    if is_in_cluster():
        yield {}
        return
    variables, authorities = (_config(name) for name in (TRUST, AUTHORITIES))
    if not variables:
        yield {}
        return
    if not authorities:
        raise ClusterError(f"the ConfigMap {AUTHORITIES} of the jobs' namespace has no authorities, see docs/tls.md")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ca.crt"
        file.write_text(authorities[file.name])
        yield dict.fromkeys(variables, str(file))


def _config(name: str) -> dict[str, str]:
    """Return the data of a ConfigMap of the jobs' namespace, empty where there is none."""
    place = (f"--namespace={environments.current().jobs_namespace}", "--ignore-not-found", "--output=json")
    found: dict[str, str] = json.loads(kubectl("get", "configmap", name, *place) or "{}").get("data", {})
    return found


def _nats(forwards: ExitStack) -> dict[str, str]:
    """Return the variables of NATS: ours through a port-forward, one of yours with the login of `k8s/.env`."""
    found = environments.current()
    if not found.nats_namespace:
        login = {name: value for name, value in env_file.values().items() if name.startswith("NATS_") and value}
        servers = ",".join(_forwarded_server(one, forwards) for one in found.nats_url.split(","))
        return login | {"NATS_URL": servers}
    host, port = forwards.enter_context(reached(found.nats_namespace, "nats", _PORT))
    return {**_login(found.nats_namespace), "NATS_URL": f"nats://{host}:{port}"}


def _login(namespace: str) -> dict[str, str]:
    try:
        return _secret(ADMIN, namespace)
    except Forbidden:
        return _secret(OPERATOR, namespace)


def _secret(user: str, namespace: str) -> dict[str, str]:
    return decoded(json.loads(kubectl("get", "secret", f"nats-{user}", f"--namespace={namespace}", "--output=json")))


def _operators_dsn() -> str | None:
    """Read the database's address with the login of people on call, None where there is none."""
    place = ("secret", database.OPERATORS_DATABASE, f"--namespace={environments.current().jobs_namespace}")
    try:
        found = kubectl("get", *place, "--ignore-not-found", "--output=json")
    except ClusterError:  # most commands need NATS only
        return None
    return decoded(json.loads(found))["PG_DSN"] if found.strip() else None


def _forwarded_server(url: str, forwards: ExitStack) -> str:
    """Return the URL of a NATS server, through a port-forward if it names a service of the cluster."""
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    found = database.service_of(parts.hostname or "")
    if found is None or is_in_cluster():
        return url
    service, namespace = found
    return database.on_local_port(parts, forwards.enter_context(forwarded(namespace, service, parts.port or _PORT)))


def _forwarded_dsn(dsn: str, forwards: ExitStack) -> str:
    """Return `dsn`, through a port-forward if it names a service of the cluster."""
    try:
        parts = database.read(dsn)
    except ClusterError:
        return dsn  # the command may understand it
    if parts.service is None or is_in_cluster():
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

    # The terminal sends Ctrl-C to the command too.
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: pass_on, signal.SIGHUP: pass_on}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        process = subprocess.Popen(command, env={**os.environ, **environment})
        return shell_status(process.wait())
    except OSError as error:
        raise ClusterError(f"{command[0]}: {error.strerror}") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _main() -> int:
    command = sys.argv[1:]
    with connected() as environment:
        if not command:
            print(f"connect: NATS is at {environment['NATS_URL']}; leave with `exit`", file=sys.stderr)
        return run_command(command or [os.environ.get("SHELL", "sh")], environment)


if __name__ == "__main__":
    sys.exit(run("connect", _main))
