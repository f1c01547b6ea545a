"""Which failed rows a command is about, from its words and options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keda_jobs.claims.failed_rows import RowFilter
from keda_jobs.cli.terminal import print_err
from keda_jobs.errors import Misconfigured

_KEY = re.compile(r"-?\d{1,19}")
_LARGEST = 2**63 - 1


def parse_selection(
    words: Sequence[str] | None, reason: str | None, *, given_up: bool, waiting: bool
) -> tuple[str | None, RowFilter]:
    """The batch job's name, if it was given, and the rows. Raises `Misconfigured`."""
    if given_up and waiting:
        raise Misconfigured("--given-up and --waiting exclude each other; without either both kinds are meant")
    name, keys = _name_and_keys(words or ())
    return name, RowFilter(keys, reason, failed_permanently=True if given_up else False if waiting else None)


def _name_and_keys(words: Sequence[str]) -> tuple[str | None, frozenset[int]]:
    # A job's name begins with a letter.
    name = words[0] if words and words[0][:1].isalpha() else None
    keys = words[1:] if name else words
    for word in keys:
        if not _KEY.fullmatch(word) or abs(int(word)) > _LARGEST:
            raise Misconfigured(f"{word!r} is not the key of a row, which is an integer")
    return name, frozenset(map(int, keys))


def say_missing(wanted: RowFilter, found: Iterable[int]) -> bool:
    """Name each wanted key that is not among those found; whether there is any."""
    missing = sorted(wanted.keys.difference(found))
    for key in missing:
        print_err(f"{key} is not among these failed rows")
    return bool(missing)
