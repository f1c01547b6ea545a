"""Logins that k8s/connect.sh gives a command: those that whoever runs it may read."""

from __future__ import annotations

import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cluster import connect
from cluster.errors import ClusterError, Forbidden
from cluster.kubernetes import encoded
from stack.waiting import wait_until

SECRETS = {
    "nats-admin": {"NATS_USER": "admin", "NATS_PASSWORD": "a"},
    "nats-operator": {"NATS_USER": "operator", "NATS_PASSWORD": "o"},
    "postgres-operator": {"PG_DSN": "postgresql://keda_jobs_operator:p@db.example.com:5432/app?sslmode=require"},
}

KUBECTL = """#!{python}
import socket, sys
local = int(sys.argv[-1].partition(":")[0] or 0)
with socket.create_server(("127.0.0.1", local)) as server:
    print(f"Forwarding from 127.0.0.1:{{server.getsockname()[1]}} -> 4222", flush=True)
    server.accept()[0].sendall(b"once")
"""


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str]:
    """Return the names of the Secrets that may be read. Without one everything else is forbidden too."""
    found: set[str] = set()

    def kubectl(_verb: str, kind: str, name: str, *_options: str) -> str:
        if kind == "configmap":
            return ""  # as for one that does not exist
        if name not in found:
            raise Forbidden(f'Error from server (Forbidden): secrets "{name}" is forbidden')
        return json.dumps({"data": {key: encoded(value) for key, value in SECRETS[name].items()}})

    @contextmanager
    def reached(_namespace: str, _service: str, _port: int) -> Iterator[tuple[str, int]]:
        yield "127.0.0.1", 4222

    monkeypatch.setattr(connect, "kubectl", kubectl)
    monkeypatch.setattr(connect, "reached", reached)
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    monkeypatch.delenv("PG_DSN", raising=False)
    return found


def test_people_on_call_get_their_own_logins(readable: set[str]) -> None:
    readable |= {"nats-operator", "postgres-operator"}
    with connect.connected() as found:
        expected = SECRETS["nats-operator"] | SECRETS["postgres-operator"]
        assert found == {"NATS_URL": "nats://127.0.0.1:4222", **expected}


def test_an_administrator_gets_the_administrators_login_and_the_database_of_the_file(
    readable: set[str], tmp_path: Path
) -> None:
    readable.update(SECRETS)
    owner = "postgresql://owner:hidden@db.example.com:5432/app?sslmode=require"
    (tmp_path / ".env").write_text(f"PG_DSN={owner}\n")
    with connect.connected() as found:
        assert (found["NATS_USER"], found["PG_DSN"]) == ("admin", owner)


def test_without_a_database_for_people_on_call_there_is_no_pg_dsn(readable: set[str]) -> None:
    readable |= {"nats-operator"}
    with connect.connected() as found:
        assert "PG_DSN" not in found


def test_whoever_may_read_no_login_is_told_which(readable: set[str]) -> None:
    with pytest.raises(ClusterError, match='"nats-operator" is forbidden'), connect.connected():
        pass


@pytest.fixture
def kubectl_of_one_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a kubectl first whose port-forward ends after one connection, as the real one does with its pod."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(KUBECTL.format(python=sys.executable))
    kubectl.chmod(kubectl.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


@pytest.mark.usefixtures("kubectl_of_one_connection")
def test_a_port_forward_that_ends_is_made_again_on_the_same_port() -> None:
    with connect.forwarded("nats", "nats", 4222) as port:
        for _ in range(3):
            assert wait_until(lambda: answer(port), 30) == b"once"
    assert answer(port) is None


def answer(port: int) -> bytes | None:
    """Return what whoever listens on the port sends, None without anybody."""
    try:
        with socket.create_connection(("127.0.0.1", port)) as client:
            return client.recv(16)
    except ConnectionError:
        return None
