"""Orders with unique numbers, what becomes of each, and the ledger in which jobs write what they have done."""

from __future__ import annotations

import os
import random
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple


class Fate(StrEnum):
    """What becomes of an order in a job. `HOPELESS` fails at every delivery, until none is left."""

    GOOD = "good"
    SLOW = "slow"
    FAILS_ONCE = "fails once"
    REFUSED = "refused"
    HOPELESS = "hopeless"


_SHARES = {Fate.GOOD: 80, Fate.SLOW: 10, Fate.FAILS_ONCE: 6, Fate.REFUSED: 2, Fate.HOPELESS: 2}
_DEAD = (Fate.REFUSED, Fate.HOPELESS)


class Order(NamedTuple):
    """One order."""

    number: int
    fate: Fate

    @property
    def ends_dead(self) -> bool:
        """True for an order that must end as a dead letter, or as a row that has failed permanently."""
        return self.fate in _DEAD


def draw_orders(rng: random.Random, count: int) -> list[Order]:
    """Draw the fates of `count` orders, numbered from 1."""
    fates = rng.choices(list(_SHARES), weights=list(_SHARES.values()), k=count)
    return [Order(number, fate) for number, fate in enumerate(fates, 1)]


def enter(ledger: Path, number: int) -> None:
    """Append the number of a completed order, and return when the line is on the disk."""
    file = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, b"%d\n" % number)
        os.fsync(file)
    finally:
        os.close(file)


def entries(ledger: Path) -> Counter[int]:
    """Count the entries of each order."""
    return Counter(int(line) for line in ledger.read_text().splitlines()) if ledger.exists() else Counter()
