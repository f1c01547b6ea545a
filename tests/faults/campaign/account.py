"""Comparison of the orders that went in with what came of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .orders import Order


@dataclass(frozen=True, slots=True)
class Account:
    """Orders that are missing, orders that ended otherwise than they must, and the number of repetitions."""

    count: int
    missing: Sequence[str]
    wrong: Sequence[str]
    repeated: int

    @property
    def balances(self) -> bool:
        """True where nothing is missing and nothing is wrong. Repetitions are allowed."""
        return not self.missing and not self.wrong

    def __add__(self, other: Account) -> Account:
        return Account(
            self.count + other.count,
            [*self.missing, *other.missing],
            [*self.wrong, *other.wrong],
            self.repeated + other.repeated,
        )


def compare(what: str, orders: Sequence[Order], done: Counter[int], dead: Counter[int]) -> Account:
    """Compare `orders` with the numbers that were done, and with those that ended dead.

    An order is missing where its own end is, and wrong where it has the other end.
    """
    missing = [order for order in orders if not (dead if order.ends_dead else done)[order.number]]
    wrong = [order for order in orders if (done if order.ends_dead else dead)[order.number]]
    unknown = (done + dead).keys() - {order.number for order in orders}
    return Account(
        len(orders),
        [f"{what} {order.number} ({order.fate})" for order in missing],
        [f"{what} {order.number} ({order.fate})" for order in wrong] + [f"{what} {number}" for number in unknown],
        sum(number - 1 for number in [*done.values(), *dead.values()] if number > 1),
    )
