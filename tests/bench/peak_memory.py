"""Run a command with its output in a file, and print its seconds and its peak memory in MB, on Linux.

    python -m peak_memory FILE COMMAND…

It is a program of its own, because a process begins with the peak of the one that starts it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    file, *command = sys.argv[1:]
    began = time.monotonic()
    with Path(file).open("wb") as output:
        code = subprocess.run(command, stdout=output, check=False).returncode
    print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6)
    sys.exit(code)
