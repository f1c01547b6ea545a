"""The one kind of error of these tools, and the one place where it becomes a line."""

from __future__ import annotations

import sys
from collections.abc import Callable

from stack.process import StackError


class ClusterError(Exception):
    """Something to be mended by the person at the keyboard; the message is one line that says what to do."""


def run(name: str, main: Callable[[], int]) -> int:
    """The exit code of `main`; what a person can mend is said on stderr in the name of `name`, and is 1."""
    try:
        return main()
    except (ClusterError, StackError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
