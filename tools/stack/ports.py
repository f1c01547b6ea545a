"""TCP ports on loopback that no other process of the local stack uses."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

from stack.process import StackError

HOST = "127.0.0.1"

# Below the ephemeral range, so that no outgoing connection takes a port chosen here.
_FIRST, _LAST = 12_000, 31_999
_chosen: set[int] = set()


def free_port() -> int:
    """Reserve a TCP port that nothing uses, for as long as this process runs. Raises `StackError`."""
    count = _LAST - _FIRST + 1
    start = random.randrange(count)
    for offset in range(count):
        port = _FIRST + (start + offset) % count
        if port not in _chosen and _reserve(port) and not _why_busy(port):
            _chosen.add(port)
            return port
    raise StackError(f"no port between {_FIRST} and {_LAST} is free")


def check_port_free(name: str, port: int, option: str) -> None:
    """Raise `StackError` when `port` is in use. The message names `option`, which chooses another port."""
    if why := _why_busy(port):
        fix = f'stop what uses it or choose another: make up ARGS="{option} PORT"'
        raise StackError(f"{name}: port {port} {why}; {fix}")


def _reserve(port: int) -> bool:
    """Lock the byte that stands for `port`, and return whether no other process holds it.

    A server listens only some time after its port was chosen. Until then a second process would find the port free.
    """
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


@cache
def _reservations() -> int:
    """Open the file of reserved ports. It is never closed: closing it would give up this process's locks."""
    path = Path(tempfile.gettempdir()) / f"keda-jobs-ports-{os.geteuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)


def _why_busy(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return "is busy" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
    return None
