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

from stack.ports import HOST, check_port_free, free_port
from stack.postgres_programs import program
from stack.process import Process, StackError
from stack.waiting import wait_until

DATABASE = "keda_jobs"
USER = "keda_jobs"
# compose.yaml has the same.
SETTINGS = {
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "max_connections": "200",
    # For a laptop: a killed server loses nothing. Only a power cut may.
    "fsync": "off",
    "full_page_writes": "off",
    # By default the tables that USER creates would go to the schema of its name, which is the library's.
    "search_path": "public",
}
INITDB = ("--encoding=UTF8", "--locale=C")
_PLACE = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    # In files of the data folder. By default a killed server leaves a megabyte in /dev/shm until the machine restarts.
    "dynamic_shared_memory_type": "mmap",
}
_PROTOCOL = 3 << 16
_TERMINATE = b"X\0\0\0\4"
_PROC = Path("/proc")
_LAST_QUERIES_S = 10.0
_LAST_WORDS = 10
# PostgreSQL refuses to run as root, so `nobody` runs it, with the one right needed to reach a folder of root.
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
    """`postgres` with an empty database under `folder`/postgres. Everyone who reaches its port may log in."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__("PostgreSQL", folder / "postgres.log")
        self.port = port or free_port()
        self._data = folder.resolve() / "postgres"

    @property
    def dsn(self) -> str:
        """Connection URL of the database's owner."""
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str, role: str = USER) -> str:
        """Return the URL by which `role` connects to `database`."""
        return f"postgresql://{role}@{HOST}:{self.port}/{database}"

    def environment(self) -> dict[str, str]:
        """Return the variable by which jobs and the CLI find the database."""
        return {"PG_DSN": self.dsn}

    def prepare(self) -> None:
        check_port_free(self.name, self.port, "--postgres-port")
        if not self._data.exists():
            self._make_cluster()
        if _PROC.exists():
            self._wait_for_earlier_server()
            # A killed server left it, and its pid may belong to another process by now.
            (self._data / "postmaster.pid").unlink(missing_ok=True)

    def command(self) -> list[str]:
        settings = {**SETTINGS, **_PLACE, "port": str(self.port)}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        return [*_unprivileged(), str(program("postgres")), "-D", str(self._data), *options]

    def answers(self) -> bool:
        # By a login: a server that recovers from a crash accepts connections and refuses logins.
        login = b"user\0" + USER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                connection.sendall(struct.pack("!II", len(login) + 8, _PROTOCOL) + login)
                is_open = connection.recv(1) == b"R"
                connection.sendall(_TERMINATE)
                while connection.recv(4096):
                    pass
                return is_open
        except OSError:
            return False

    def stop(self, deadline_s: float = 30.0) -> int | None:
        """Disconnect all clients and stop (PostgreSQL's fast mode). SIGTERM would wait for the clients."""
        self.signal(signal.SIGINT)
        if self.alive:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(deadline_s)
        return self.kill()

    def stop_immediately(self) -> None:
        """Stop as in a crash: no checkpoint, every connection cut (PostgreSQL's immediate mode)."""
        self.signal(signal.SIGQUIT)
        self.wait()
        self.kill()

    def last_line(self) -> str:
        """Return the server's last error. Hints and other lines may follow it in the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return _last_error("\n".join(text.splitlines()[-_LAST_WORDS:])) or super().last_line()

    def kill(self) -> int | None:
        """Send SIGKILL, wait until the processes of its connections have ended, and return the exit code."""
        code = super().kill()
        if code is not None:
            with contextlib.suppress(StackError):
                self._wait_for_earlier_server()
        return code

    def _wait_for_earlier_server(self) -> None:
        """Wait for processes of an earlier server, which end their last query first and write meanwhile.

        Raises `StackError` when they do not end.
        """
        try:
            wait_until(lambda: not _processes_in(self._data), _LAST_QUERIES_S)
        except TimeoutError:
            pids = " ".join(map(str, _processes_in(self._data)))
            raise StackError(f"{self.name}: another server uses {self._data}; stop it: kill {pids}") from None

    def _make_cluster(self) -> None:
        # Under another name until it is complete, so that an interrupted initdb is not taken for a cluster.
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
        # Not in this folder: the program fails in a folder that it may not read.
        ended = subprocess.run(command, check=False, input=given, capture_output=True, text=True, cwd="/")
        if ended.returncode:
            raise StackError(f"{self.name}: {_last_error(ended.stderr) or f'{name} exited with {ended.returncode}'}")


def _last_error(output: str) -> str | None:
    """Return the last error in the output of a PostgreSQL program, else its last line."""
    errors = re.findall(r"(?:error|FATAL|PANIC): +(.+)", output) or output.splitlines()
    return errors[-1] if errors else None


def _processes_in(data: Path) -> list[int]:
    """Find the processes of a server on `data`, their working directory, where the system has /proc."""
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
