"""Selection of failed rows, from a command's arguments and options."""

from __future__ import annotations

from collections.abc import Sequence

from keda_jobs.claims.failed_rows import RowFilter, parse_keys
from keda_jobs.errors import Misconfigured


def parse_selection(
    arguments: Sequence[str] | None, reason: str | None, *, given_up: bool, waiting: bool
) -> tuple[str | None, RowFilter]:
    """Return the batch job's name, if there is one, and the selected rows. Raises `Misconfigured`."""
    if given_up and waiting:
        raise Misconfigured("--given-up and --waiting exclude each other; pass neither to select both kinds")
    name, keys = _name_and_keys(arguments or ())
    return name, RowFilter(keys, reason, failed_permanently=True if given_up else False if waiting else None)


def _name_and_keys(arguments: Sequence[str]) -> tuple[str | None, frozenset[int]]:
    # A job's name begins with a letter.
    name = arguments[0] if arguments and arguments[0][:1].isalpha() else None
    return name, parse_keys(arguments[1:] if name else arguments)
