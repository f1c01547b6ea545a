"""Tables at the end: thumbnails and dead letters."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from demo.pictures.progress import Picture
from keda_jobs.cli.terminal import add_row, new_table, sanitize


def thumbnails_table(pictures: Sequence[Picture]) -> Table:
    """Build a table with a row for each thumbnail."""
    columns = ("picture", "original", "bytes", "thumbnail", "bytes", "tries", "time", "key")
    rows = new_table(*columns, right=("bytes", "tries", "time"), cut=("key",))
    for picture in pictures:
        original, thumbnail = picture.original, picture.thumbnail
        if original is not None and thumbnail is not None:
            add_row(
                rows,
                picture.event.name,
                original,
                f"{original.bytes:,}",
                thumbnail,
                f"{thumbnail.bytes:,}",
                picture.tries,
                f"{picture.seconds:.2f} s",
                thumbnail.key,
            )
    return rows


def dead_letters_table(pictures: Sequence[Picture]) -> Table:
    """Build a table with a row for each dead letter."""
    rows = new_table("picture", "job", "tries", "error", "reason", right=("tries",), cut=("reason",))
    for picture in pictures:
        if (dead := picture.dead_letter) is not None:
            reason = Text(sanitize(picture.reason), overflow="fold")
            add_row(rows, picture.event.name, dead.job, dead.num_delivered, dead.error_class, reason)
    return rows
