"""How dead letters are shown: a table of many, the facts of one, groups with counts, JSON."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from keda_jobs.cli.terminal import add_row, cell, format_age, new_table, sanitize
from keda_jobs.domain.dead_letter import TRUNCATED, DeadLetter
from keda_jobs.domain.headers import Header
from keda_jobs.jetstream.dead_letters import Group

_EXCERPT = 200
# Below it the eight columns leave no room for reason and data.
_WIDE = 120


def as_json(letter: DeadLetter) -> dict[str, Any]:
    """A letter for scripts; the keys stay."""
    return {
        "sequence": letter.sequence,
        "died_at": letter.died_at.isoformat(),
        "published_at": letter.headers.get(Header.PUBLISHED_AT),
        "job": letter.job,
        "subject": letter.subject,
        "num_delivered": letter.num_delivered,
        "error_class": letter.error_class,
        "reason": letter.reason,
        "data_kind": letter.kind,
        "data": letter.data,
        "headers": letter.original_headers,
    }


def letters_table(letters: list[DeadLetter], now: datetime, width: int) -> Table:
    """A row for each letter, of two lines where `width` is narrow."""
    return _wide(letters, now) if width >= _WIDE else _narrow(letters, now)


def _wide(letters: list[DeadLetter], now: datetime) -> Table:
    numbers, long = ("seq", "age", "attempts"), ("reason", "data")
    made = new_table("seq", "age", "job", "subject", "attempts", "error", *long, right=numbers, cut=long)
    for letter in letters:
        add_row(
            made,
            letter.sequence,
            format_age(letter.died_at, now),
            letter.job or "-",
            letter.subject or "-",
            letter.num_delivered,
            letter.error_class or "-",
            letter.reason.removeprefix(f"{letter.error_class}: ") or "-",
            _data(letter),
        )
    return made


def _narrow(letters: list[DeadLetter], now: datetime) -> Table:
    numbers, long = ("seq", "age", "attempts"), "reason / data"
    made = new_table("seq", "age", "job / subject", "attempts", long, right=numbers, cut=(long,))
    for letter in letters:
        add_row(
            made,
            letter.sequence,
            format_age(letter.died_at, now),
            cell(letter.job or "-", below=letter.subject or "-"),
            letter.num_delivered,
            cell(letter.reason or letter.error_class or "-", below=_data(letter)),
        )
    return made


def _data(letter: DeadLetter) -> str:
    text = letter.data if isinstance(letter.data, str) else json.dumps(letter.data, ensure_ascii=False)
    return text[:_EXCERPT]


def groups_table(groups: Counter[Group]) -> Table:
    """Counts by job, error class and subject, the largest first."""
    made = new_table("count", "job", "error", "subject", right=("count",))
    for group, count in groups.most_common():
        add_row(made, count, *(part or "-" for part in group))
    return made


def facts_table(letter: DeadLetter) -> Table:
    """All that is known of one letter besides its data."""
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("sequence", letter.sequence),
        ("died", letter.headers.get(Header.DIED_AT, letter.died_at.isoformat())),
        ("published", letter.headers.get(Header.PUBLISHED_AT, "-")),
        ("as message", letter.headers.get(Header.SEQUENCE, "-")),
        ("job", letter.job or "-"),
        ("subject", letter.subject or "-"),
        ("attempts", letter.num_delivered),
        ("error", letter.error_class or "-"),
        ("reason", letter.reason or "-"),
        *((f"header {name}", value) for name, value in letter.original_headers.items()),
        ("data is", "cut short" if letter.kind == TRUNCATED else letter.kind),
    ):
        add_row(facts, cell(name, style="bold"), value)
    return facts


def data_text(letter: DeadLetter) -> Text:
    """The letter's data, JSON indented, line by line without control characters."""
    data = letter.data if isinstance(letter.data, str) else json.dumps(letter.data, indent=2, ensure_ascii=False)
    return Text("\n".join(sanitize(line, keep_blanks=True) for line in data.split("\n")))
