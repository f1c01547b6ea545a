"""Ends the processes of a stack whose owner is gone, however it went; `kill -9` leaves it no chance to do so itself.

Runs as a child that reads `+PID` and `-PID` lines. The owner alone holds the other end of the pipe, so the end of
the input means that the owner is dead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def watch(lines: Iterable[str]) -> None:
    """Follow `lines` to their end, then kill the process groups that are still on the list."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)
