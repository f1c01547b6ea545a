"""`users-batch-seed`: makes millions of believable users, for trials and measurements. No worker needs it."""

from __future__ import annotations

import sys

_NEEDED = ("rich", "typer")
_INTERRUPTED = 130


def main() -> None:
    """The console script."""
    # Imported here: the processes that write files import this package too, and need next to nothing.
    try:
        from users_batch.seed.commands import app

        app(prog_name="users-batch-seed")
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write("users-batch-seed: the seed tool is not installed; run `pip install 'users-batch[seed]'`\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
