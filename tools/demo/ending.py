"""How a demo ends: well, with one line that says what is wrong, or by Ctrl-C."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from keda_jobs.cli.terminal import sanitize
from keda_jobs.errors import JobError
from stack import StackError

_MOST_NAMED = 5
_INTERRUPTED = 130


class _Stoppable(Protocol):
    def start(self) -> None: ...

    def stop(self) -> object: ...


S = TypeVar("S", bound=_Stoppable)


def exit_code_of(demo: Callable[[], list[str]]) -> int:
    """Run `demo`, which returns what did not come out as it should; 0, or 1 after one line with all of it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return _verdict(demo())
    except (StackError, JobError, OSError) as error:
        print(f"demo: {sanitize(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print("demo: interrupted, everything is stopped", file=sys.stderr)
        return _INTERRUPTED


@contextmanager
def running(stack: S) -> Iterator[S]:
    """`stack`, started, and stopped at the end of the block."""
    try:
        stack.start()
        yield stack
    finally:
        # A second Ctrl-C must not leave the stopping half done; it takes a second or two.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.stop()
        signal.signal(signal.SIGINT, before)


def _verdict(missing: list[str]) -> int:
    if not missing:
        return 0
    more = [f"and {len(missing) - _MOST_NAMED} more"] if len(missing) > _MOST_NAMED else []
    print(f"demo: {sanitize('; '.join(missing[:_MOST_NAMED] + more))}", file=sys.stderr)
    return 1
