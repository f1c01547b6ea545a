"""Seed tool `users-batch-seed`: millions of believable users for trials and measurements."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        # Imported here: worker processes import this package too and need none of it.
        from users_seed.commands import app

        app(prog_name="users-batch-seed")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
