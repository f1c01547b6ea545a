"""PgBouncer in transaction mode, which no wheel contains."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from stack import PostgresServer, Process
from stack.ports import HOST, free_port

# Fewer connections than clients, so that each transaction of a client may be on another one.
_POOL_SIZE = 3
_ROLES = ("keda_jobs", "users_worker", "users_scaler", "keda_jobs_exporter")


class PgBouncer(Process):
    """`pgbouncer` in front of a server. Debian puts it where only root's PATH leads."""

    def __init__(self, server: PostgresServer, folder: Path) -> None:
        super().__init__("PgBouncer", folder / "pgbouncer.log")
        self._server = server
        self._folder = folder
        self._port = free_port()

    def dsn(self, database: str, role: str = "keda_jobs") -> str:
        """Return the URL by which `role` connects to `database`."""
        return f"postgresql://{role}@{HOST}:{self._port}/{database}"

    def prepare(self) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / "users.txt").write_text("".join(f'"{role}" ""\n' for role in _ROLES))
        (self._folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host={HOST} port={self._server.port}
[pgbouncer]
listen_addr = {HOST}
listen_port = {self._port}
unix_socket_dir =
auth_type = trust
auth_file = {self._folder / "users.txt"}
pool_mode = transaction
default_pool_size = {_POOL_SIZE}
server_round_robin = 1
""")

    def command(self) -> list[str]:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [_program(), *user, str(self._folder / "pgbouncer.ini")]

    def answers(self) -> bool:
        with socket.socket() as connection:
            return connection.connect_ex((HOST, self._port)) == 0


def _program() -> str:
    """Return the path of `pgbouncer`. End the test run when it is not installed."""
    found = os.environ.get("PGBOUNCER") or shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.exit("pgbouncer is not installed: apt-get install pgbouncer, or set PGBOUNCER", returncode=1)
    return found
