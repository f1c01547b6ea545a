"""Guard that ends the processes of a stack when their owner has died, by `kill -9` too.

It is a child process that reads `+PID` and `-PID` lines. The owner alone holds the other end of the pipe, so the end
of the input means that the owner is dead.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def watch(lines: Iterable[str]) -> None:
    """Read `lines` to their end, then kill the process groups that are still listed."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)
