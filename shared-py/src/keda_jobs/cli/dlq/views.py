"""Output of dead letters: tables, groups with counts, JSON."""

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
# In a narrower terminal eight columns leave no room for reason and data.
_WIDE = 120


def as_json(dead: DeadLetter) -> dict[str, Any]:
    """Build the JSON of a dead letter. Scripts rely on its keys."""
    return {
        "sequence": dead.sequence,
        "died_at": dead.died_at.isoformat(),
        "published_at": dead.headers.get(Header.PUBLISHED_AT),
        "job": dead.job,
        "subject": dead.subject,
        "num_delivered": dead.num_delivered,
        "error_class": dead.error_class,
        "reason": dead.reason,
        "data_kind": dead.kind,
        "data": dead.data,
        "headers": dead.original_headers,
    }


def dead_letters_table(dead_letters: list[DeadLetter], now: datetime, width: int) -> Table:
    """Build the table of dead letters, with two lines each where `width` is narrow."""
    return _wide_table(dead_letters, now) if width >= _WIDE else _narrow_table(dead_letters, now)


def _wide_table(dead_letters: list[DeadLetter], now: datetime) -> Table:
    numbers, long = ("seq", "age", "attempts"), ("reason", "data")
    table = new_table("seq", "age", "job", "subject", "attempts", "error", *long, right=numbers, cut=long)
    for dead in dead_letters:
        add_row(
            table,
            dead.sequence,
            format_age(dead.died_at, now),
            dead.job or "-",
            dead.subject or "-",
            dead.num_delivered,
            dead.error_class or "-",
            dead.reason.removeprefix(f"{dead.error_class}: ") or "-",
            _excerpt(dead),
        )
    return table


def _narrow_table(dead_letters: list[DeadLetter], now: datetime) -> Table:
    numbers, long = ("seq", "age", "attempts"), "reason / data"
    table = new_table("seq", "age", "job / subject", "attempts", long, right=numbers, cut=(long,))
    for dead in dead_letters:
        add_row(
            table,
            dead.sequence,
            format_age(dead.died_at, now),
            cell(dead.job or "-", below=dead.subject or "-"),
            dead.num_delivered,
            cell(dead.reason or dead.error_class or "-", below=_excerpt(dead)),
        )
    return table


def _excerpt(dead: DeadLetter) -> str:
    text = dead.data if isinstance(dead.data, str) else json.dumps(dead.data, ensure_ascii=False)
    return text[:_EXCERPT]


def groups_table(groups: Counter[Group]) -> Table:
    """Build the table of counts by job, error class and subject, the largest first."""
    table = new_table("count", "job", "error", "subject", right=("count",))
    for group, count in groups.most_common():
        add_row(table, count, *(part or "-" for part in group))
    return table


def facts_table(dead: DeadLetter) -> Table:
    """Build the table of all facts about a dead letter except its data."""
    table = Table.grid(padding=(0, 2))
    for name, value in (
        ("sequence", dead.sequence),
        ("died", dead.headers.get(Header.DIED_AT, dead.died_at.isoformat())),
        ("published", dead.headers.get(Header.PUBLISHED_AT, "-")),
        ("as message", dead.headers.get(Header.SEQUENCE, "-")),
        ("job", dead.job or "-"),
        ("subject", dead.subject or "-"),
        ("attempts", dead.num_delivered),
        ("error", dead.error_class or "-"),
        ("reason", dead.reason or "-"),
        *((f"header {name}", value) for name, value in dead.original_headers.items()),
        ("data", "truncated" if dead.kind == TRUNCATED else dead.kind),
    ):
        add_row(table, cell(name, style="bold"), value)
    return table


def data_text(dead: DeadLetter) -> Text:
    """Format the data, JSON indented, without control characters."""
    data = dead.data if isinstance(dead.data, str) else json.dumps(dead.data, indent=2, ensure_ascii=False)
    return Text("\n".join(sanitize(line, keep_blanks=True) for line in data.split("\n")))
