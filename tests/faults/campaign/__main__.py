"""Program of `make faults`: runs with faults drawn from seeds, one after the other, and what they say."""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import shutil
import sys
import time
from pathlib import Path

from keda_jobs.runtime.shutdown import is_cancelled
from stack import StackError
from stack.jobs import ROOT

from .account import Account
from .plan import KINDS, Plan, draw_plan
from .report import write_report
from .run import RunFailed, perform

FOLDER = ROOT / ".stack" / "faults"


def main() -> int:
    """Return 0 when nothing is missing in any run, 1 after a line that says what is and how to repeat the run."""
    arguments = _parse()
    # What the connection to NATS says during faults is no news.
    logging.getLogger("keda_jobs").setLevel(logging.CRITICAL)
    done: list[tuple[Plan, Account]] = []
    failed = 0
    try:
        for seed in range(arguments.seed, arguments.seed + arguments.runs):
            plan = draw_plan(seed, arguments.span)
            account = run(plan, arguments.size, arguments.span)
            if account:
                done.append((plan, account))
            failed += not (account and account.balances)
    except KeyboardInterrupt:
        print("faults: interrupted, everything is stopped", file=sys.stderr)
        return 130
    print(f"faults: {arguments.runs} runs, {failed} failed")
    if arguments.report:
        is_complete = len(done) == arguments.runs
        print(f"faults: {write_report(done)} is written" if is_complete else "faults: no table, a run has no figures")
    return 1 if failed else 0


def run(plan: Plan, size: int, span_s: float) -> Account | None:
    """Perform a run and print its plan and its result. The folder of a failed one stays."""
    print(f"seed {plan.seed}, {plan.kind.name}: {'; '.join(map(str, plan.strikes))}", flush=True)
    folder = FOLDER / str(plan.seed)
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    account = None
    try:
        account = asyncio.run(_perform(plan, size, span_s, folder))
        print(f"  {time.monotonic() - began:.0f} s: {_in_words(account)}", flush=True)
    except* (RunFailed, StackError, AssertionError) as errors:
        for error in errors.exceptions:
            print(f"  {time.monotonic() - began:.0f} s: {error}", flush=True)
    if account and account.balances:
        shutil.rmtree(folder)
    else:
        again = f"--seed {plan.seed} --runs 1 --size {size} --span {span_s:g}"
        print(f'  repeat it: make faults ARGS="{again}"   logs: {folder.relative_to(ROOT)}', flush=True)
    return account


async def _perform(plan: Plan, size: int, span_s: float, folder: Path) -> Account:
    """Perform a run. After Ctrl-C, what fails while the servers end is no result of it."""
    try:
        return await perform(plan, size, span_s, folder)
    except Exception:
        if is_cancelled():
            raise asyncio.CancelledError from None
        raise


def _in_words(account: Account) -> str:
    words = f"{account.count} orders and rows, {len(account.missing)} missing, {account.repeated} repeated"
    for name, orders in (("missing", account.missing), ("wrong end", account.wrong)):
        if orders:
            words += f"; {name}: {', '.join(orders[:20])}"
    return words


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description="Strike the jobs with faults, and count what is lost.")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="seed of the first run")
    parser.add_argument("--runs", type=int, default=len(KINDS), help=f"runs ({len(KINDS)}, one of each kind)")
    parser.add_argument("--size", type=int, default=2000, help="orders, and as many rows, of a run (2000)")
    parser.add_argument("--span", type=float, default=10, help="seconds in which they come (10)")
    parser.add_argument("--report", action="store_true", help="write the table of docs/faults.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
