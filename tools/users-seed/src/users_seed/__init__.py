"""Seed tool `users-batch-seed`: millions of believable users for trials and measurements."""

from __future__ import annotations

import sys

_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        # Imported here: the processes that write files import this package too, and need next to nothing.
        from users_seed.commands import app

        app(prog_name="users-batch-seed")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
