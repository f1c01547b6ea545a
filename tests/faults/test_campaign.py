"""The program of `make faults`: what it draws, what it counts, and a small run."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from stack import StackError

from .campaign import __main__ as program
from .campaign.account import compare
from .campaign.orders import Fate, Order
from .campaign.plan import KINDS, Action, draw_plan
from .campaign.report import table
from .campaign.run import perform

ORDERS = [Order(1, Fate.GOOD), Order(2, Fate.FAILS_ONCE), Order(3, Fate.REFUSED), Order(4, Fate.HOPELESS)]


def test_a_seed_gives_the_same_plan_each_time_and_seeds_in_a_row_give_each_kind() -> None:
    plans = [draw_plan(seed, 10) for seed in range(40, 40 + len(KINDS))]
    assert plans == [draw_plan(plan.seed, 10) for plan in plans]
    assert {plan.kind.name for plan in plans} == {kind.name for kind in KINDS}
    assert all(0 < strike.at_s < 10 for plan in plans for strike in plan.strikes)
    assert {strike.action for plan in plans for strike in plan.strikes} >= {Action.FILL, Action.ROLL_BACK}


def test_an_account_balances_when_each_order_has_its_own_end() -> None:
    account = compare("order", ORDERS, Counter({1: 1, 2: 3}), Counter({3: 2, 4: 1}))
    assert account.balances
    assert (account.count, account.repeated) == (4, 3)


@pytest.mark.parametrize(
    ("done", "dead", "missing", "wrong"),
    [
        ({1: 1}, {3: 1, 4: 1}, ["order 2 (fails once)"], []),
        ({1: 1, 2: 1}, {3: 1}, ["order 4 (hopeless)"], []),
        ({1: 1, 2: 1, 3: 1}, {3: 1, 4: 1}, [], ["order 3 (refused)"]),
        ({1: 1, 2: 1, 9: 1}, {3: 1, 4: 1}, [], ["order 9"]),
    ],
)
def test_an_order_that_is_lost_or_ends_otherwise_is_named(
    done: dict[int, int], dead: dict[int, int], missing: list[str], wrong: list[str]
) -> None:
    account = compare("order", ORDERS, Counter(done), Counter(dead))
    assert not account.balances
    assert (account.missing, account.wrong) == (missing, wrong)


def test_the_table_has_a_row_for_each_kind_that_ran_and_their_sum() -> None:
    lost = compare("order", ORDERS, Counter({1: 2}), Counter({3: 1, 4: 1}))
    lines = table([(draw_plan(0, 10), lost), (draw_plan(len(KINDS), 10), lost)]).splitlines()
    assert lines[2].endswith("| **workers killed**: kill -9 | 2 | 8 | 2 | 2 |")
    assert lines[3] == "| in all |  | 2 | 8 | 2 | 2 |"
    assert lines[-1] == f"Seeds 0 to {len(KINDS)}."


def test_ctrl_c_ends_the_campaign_although_a_server_fails_to_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def interrupted(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            raise StackError("NATS did not end")

    monkeypatch.setattr(program, "perform", interrupted)
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    with pytest.raises(KeyboardInterrupt):
        program.run(draw_plan(8, 10), 10, 1)


@pytest.mark.slow
async def test_nothing_is_missing_after_a_small_run(tmp_path: Path) -> None:
    plan = draw_plan(seed=3, span_s=2)
    assert plan.kind.name == "NATS killed"
    account = await perform(plan, 100, 2, tmp_path)
    assert account.balances, account
    assert account.count == 200
