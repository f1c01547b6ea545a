"""Table of docs/faults.md, by kind of fault."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path

from generated_files import with_table
from stack.jobs import ROOT

from .account import Account
from .plan import KINDS, Kind, Plan

PLACE = "faults"
Done = Sequence[tuple[Plan, Account]]


def write_report(done: Done, root: Path = ROOT) -> Path:
    """Write the figures of the runs into the document, and return its path. Raises `SourceError`."""
    file = with_table(root / "docs" / "faults.md", PLACE, table(done), root)
    file.path.write_text(file.text)
    return file.path.relative_to(root)


def table(done: Done) -> str:
    """Build the table, with a row for each kind that ran, and the line on the seeds."""
    seeds = sorted(plan.seed for plan, _ in done)
    heads = ("promise", "tested by", "runs", "orders and rows", "missing", "repeated")
    rows = [heads, ("---",) * 2 + ("--:",) * 4, *_rows(done), _row("in all", "", [account for _, account in done])]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", f"Seeds {seeds[0]} to {seeds[-1]}."])


def _rows(done: Done) -> Iterator[Sequence[str]]:
    for kind in KINDS:
        accounts = [account for plan, account in done if plan.kind is kind]
        if accounts:
            yield _row(kind.promise, _tested_by(kind), accounts)


def _tested_by(kind: Kind) -> str:
    return f"**{kind.name}**: {', '.join(dict.fromkeys(fault.action for fault in kind.faults))}"


def _row(promise: str, tested_by: str, accounts: Sequence[Account]) -> Sequence[str]:
    total = reduce(add, accounts)
    figures = (len(accounts), total.count, len(total.missing) + len(total.wrong), total.repeated)
    return (promise, tested_by, *map(str, figures))
