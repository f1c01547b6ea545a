"""The table of docs/long-work.md says what KEDA starts, by the arithmetic of its strategies (2.19 and newer)."""

from __future__ import annotations

import re

from stack.jobs import ROOT

_MOST = 5


def default(wanted: int, running: int, _pending: int) -> int:
    return max(0, wanted - running)


def accurate(wanted: int, running: int, pending: int) -> int:
    return max(0, _MOST - running if wanted + running - pending > _MOST else wanted - pending)


def test_each_row_of_the_table_follows_kedas_arithmetic() -> None:
    text = (ROOT / "docs/long-work.md").read_text()
    rows = [list(map(int, re.findall(r"\| (\d+)", line))) for line in text.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == 6
    for waiting, in_flight, running, pending, *started in rows:
        wanted = min(waiting + in_flight, _MOST)
        assert started == [default(wanted, running, pending), accurate(wanted, running, pending)]
