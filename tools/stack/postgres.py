"""PostgreSQL of the local stack, from a Python wheel or from the system."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

from stack.postgres_programs import program
from stack.process import Process, StackError
from stack.servers import HOST, free_port, refuse_busy_port
from stack.waiting import wait_until

DATABASE = "keda_jobs"
USER = "keda_jobs"
# Those of compose.yaml too.
SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    # For a laptop: a server that is killed loses nothing, only a machine that loses its power may.
    "fsync": "off",
    "full_page_writes": "off",
}
INITDB = ("--encoding=UTF8", "--locale=C")
_PLACE = {"listen_addresses": HOST, "unix_socket_directories": ""}
_PROTOCOL = 3 << 16
_GOODBYE = b"X\0\0\0\4"
_PROC = Path("/proc")
_LAST_QUERIES_S = 10.0
_LAST_WORDS = 10
# PostgreSQL refuses to run as root, so `nobody` runs it, with the one right that lets it reach a folder of root's.
_NOBODY = 65_534
_AS_NOBODY = (
    "setpriv",
    f"--reuid={_NOBODY}",
    f"--regid={_NOBODY}",
    "--clear-groups",
    "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
)


class PostgresServer(Process):
    """`postgres` with an empty database, everything under `folder`/postgres; who reaches its port may log in."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__("PostgreSQL", folder / "postgres.log")
        self.port = port or free_port()
        self._data = folder.resolve() / "postgres"

    @property
    def dsn(self) -> str:
        """How the owner of the database connects."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str, role: str = USER) -> str:
        """How `role` connects to `database`."""
        return f"postgresql://{role}@{HOST}:{self.port}/{database}"

    def environment(self) -> dict[str, str]:
        """The variable by which jobs and the CLI find the database."""
        return {"PG_DSN": self.dsn}

    def prepare(self) -> None:
        refuse_busy_port(self.name, self.port, "--postgres-port")
        if not self._data.exists():
            self._make_cluster()
        if _PROC.exists():
            self._wait_for_others()
            # A killed server left it, and its number may be another process by now.
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        settings = {**SETTINGS, **_PLACE, "port": str(self.port)}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        return [*_unprivileged(), str(program("postgres")), "-D", str(self._data), *options]

    def answers(self) -> bool:
        # A login: while it recovers from a crash, the server takes connections and refuses those.
        login = b"user\0" + USER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(struct.pack("!II", len(login) + 8, _PROTOCOL) + login)
                is_open = connection.recv(1) == b"R"
                connection.sendall(_GOODBYE)
                while connection.recv(4096):
                    pass
                return is_open
        except OSError:
            return False

    def stop(self, deadline_s: float = 30.0) -> int | None:
        """Disconnect everybody and stop (PostgreSQL's fast mode); SIGTERM would wait for the clients."""
        self.signal(signal.SIGINT)
        if self.alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(deadline_s)
        return self.kill()

    def stop_immediately(self) -> None:
        """End it as a crash does: no checkpoint, every connection cut (PostgreSQL's immediate mode)."""
        self.signal(signal.SIGQUIT)
        self.wait()
        self.kill()

    def last_line(self) -> str:
        """What the server ended of; hints and farewells may come after it."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return _trouble("\n".join(text.splitlines()[-_LAST_WORDS:])) or super().last_line()

    def kill(self) -> int | None:
        """SIGKILL; returns the exit code, None when it never ran, once the processes of its connections are gone."""
        code = super().kill()
        if code is not None:
            with contextlib.suppress(StackError):
                self._wait_for_others()
        return code

    def _wait_for_others(self) -> None:
        """Raise `StackError` when processes of another server go on working on the data.

        Those of a killed one end their last query first, and write meanwhile.
        """
        try:
            wait_until(lambda: not _processes_in(self._data), _LAST_QUERIES_S)
        except TimeoutError:
            pids = " ".join(map(str, _processes_in(self._data)))
            raise StackError(f"{self.name}: another one works on {self._data}; end it: kill {pids}") from None

    def _make_cluster(self) -> None:
        # Beside its place until it is whole, so that one whose making was killed is not taken for a cluster.
        new = self._data.with_name("postgres.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(new, _NOBODY, _NOBODY)
        self._run("initdb", *INITDB, "--auth=trust", "--no-sync", f"--username={USER}", "-D", str(new))
        self._run("postgres", "--single", "-D", str(new), "postgres", given=f"CREATE DATABASE {DATABASE}\n")
        new.rename(self._data)

    def _run(self, name: str, *arguments: str, given: str = "") -> None:
        command = [*_unprivileged(), str(program(name)), *arguments]
        # Not here: a folder that the program may not read would end it.
        ended = subprocess.run(command, check=False, input=given, capture_output=True, text=True, cwd="/")
        if ended.returncode:
            raise StackError(f"{self.name}: {_trouble(ended.stderr) or f'{name} exited with {ended.returncode}'}")


def _trouble(said: str) -> str | None:
    """The last error, else the last line, of the lines that a program of PostgreSQL wrote."""
    errors = re.findall(r"(?:error|FATAL|PANIC): +(.+)", said) or said.splitlines()
    return errors[-1] if errors else None


def _processes_in(data: Path) -> list[int]:
    """The processes of a server on `data`, where the system has /proc: it is their working directory."""
    found = []
    for process in _PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").readlink() == data and (process / "exe").readlink().name.startswith("postgres"):
                found.append(int(process.name))
    return found


def _unprivileged() -> tuple[str, ...]:
    if os.geteuid() != 0:
        return ()
    if shutil.which(_AS_NOBODY[0]) is None:
        raise StackError("PostgreSQL does not run as root; run this as another user, or install setpriv (util-linux)")
    return _AS_NOBODY
