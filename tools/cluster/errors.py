"""Error of these tools, and the one place that prints it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from environments import BadEnvironment
from stack.process import StackError


class ClusterError(Exception):
    """A problem that the user can fix. The message is one line that says what to do."""


class Forbidden(ClusterError):
    """Whoever runs this has no right in the cluster to do it."""


def run(name: str, main: Callable[[], int]) -> int:
    """Run `main` and return its exit code, 1 after a problem that the user can fix, printed as one line of `name`."""
    try:
        return main()
    except (ClusterError, BadEnvironment, StackError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
