"""Output of dead letters: tables, groups with counts, JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from keda_jobs.cli.terminal import add_row, cell, format_age, new_table, sanitize
from keda_jobs.domain.dead_letter import DeadLetter
from keda_jobs.domain.event import is_strict_json
from keda_jobs.domain.headers import Header
from keda_jobs.jetstream.dead_letters import Group

_EXCERPT = 200
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
# In a narrower terminal eight columns leave no room for reason and data.
_WIDE = 120


def dead_letter_json(dead: DeadLetter) -> str:
    """Build the JSON of a dead letter in one line. Scripts rely on its keys."""
    fields: dict[str, Any] = {
        "sequence": dead.sequence,
        "died_at": dead.died_at.isoformat(),
        "published_at": dead.headers.get(Header.PUBLISHED_AT),
        "job": dead.job,
        "subject": dead.subject,
        "num_delivered": dead.num_delivered,
        "error_class": dead.error_class,
        "reason": dead.reason,
        "data_kind": dead.kind,
    }
    documents = {name: json.dumps(value) for name, value in fields.items()}
    documents |= {"data": _data_json(dead), "headers": json.dumps(dead.original_headers)}
    return "{" + ", ".join(f'"{name}": {document}' for name, document in documents.items()) + "}"


def _data_json(dead: DeadLetter) -> str:
    """Return the data as it is, in one line of ASCII. A parser would change numbers such as 1.10 and 1e400."""
    if not is_strict_json(dead.raw_data.encode()):
        return json.dumps(dead.raw_data)
    # JSON has line ends between values only, and other characters than ASCII in strings only.
    line = dead.raw_data.replace("\r", " ").replace("\n", " ").strip()
    return _NOT_ASCII.sub(lambda match: json.dumps(match[0])[1:-1], line)


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
    return dead.text[:_EXCERPT]


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
        ("data", dead.kind),
    ):
        add_row(table, cell(name, style="bold"), value)
    return table


def data_text(dead: DeadLetter) -> Text:
    """Format the data as it was published, without control characters."""
    return Text("\n".join(sanitize(line, keep_blanks=True) for line in dead.text.split("\n")))
