"""A port belongs to the process that reserved it, before anything listens there."""

from __future__ import annotations

import pytest

from stack import StackError, free_port, ports

from .processes import start_python

HOLD = "import sys; from stack import free_port; print(free_port(), flush=True); sys.stdin.read()"
TRY = "import sys; from stack import ports; print(ports._reserve(int(sys.argv[1])))"


def others_can_reserve(port: int) -> bool:
    """Return whether a process of its own gets `port`."""
    with start_python("-c", TRY, str(port)) as process:
        return process.communicate()[0].strip() == "True"


def test_a_port_is_reserved_until_its_process_ends() -> None:
    with start_python("-c", HOLD) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert not others_can_reserve(port)
        holder.kill()
        holder.wait()
        assert others_can_reserve(port)


def test_a_process_never_gets_a_port_twice_and_says_when_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setattr(ports, "_FIRST", port)
    monkeypatch.setattr(ports, "_LAST", port)
    with pytest.raises(StackError, match=f"no port between {port} and {port} is free"):
        free_port()
