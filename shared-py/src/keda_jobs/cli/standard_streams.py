"""Standard streams of the command, which may be closed, full, or unable to encode what is printed."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO, TextIOWrapper

from keda_jobs.cli.terminal import print_err


@contextmanager
def standard_streams() -> Iterator[None]:
    """Run the command with streams that encode any text. Output that cannot be written is one line and exit code 1.

    A closed pipe, as with `| head`, has no line: nobody reads on.
    """
    _open_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        print_err(f"keda-jobs: {error.filename or 'the output'}: {error.strerror or error}")
        sys.exit(1)
    finally:
        _discard_the_rest()


def _open_closed() -> None:
    """Open what the shell has closed (`>&-`). Else a connection would get its number, and what is printed."""
    # In this order, because each takes the lowest number that is free.
    sys.stdin = sys.stdin or _null("r")
    sys.stdout = sys.stdout or _null("w")
    sys.stderr = sys.stderr or _null("w")


def _null(mode: str) -> TextIOWrapper:
    return TextIOWrapper(FileIO(os.devnull, mode))


def _discard_the_rest() -> None:
    """Discard what cannot be written, or Python would try again at its end and say so."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
