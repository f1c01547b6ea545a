"""One run: orders and rows come in, a plan of faults strikes, and once all is worked off the ledgers are compared."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import asyncpg
from nats.errors import Error as NatsError

from keda_jobs.domain.broker import Outgoing
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.publish import publish
from stack import until

from .account import Account, compare
from .orders import Order, draw_orders, entries
from .plan import Action, Plan
from .small_disk import SmallDisk
from .strikes import strike_all
from .system import DATABASE_AWAY, System

_PORTIONS = 10
_LOOK_S = 0.2
# The server takes up to 25 s until it sources retries again, and a busy machine is slow.
_WORKED_OFF_WITHIN_S = 240.0

_INSERT = "INSERT INTO users (id, name) SELECT * FROM unnest($1::bigint[], $2::text[]) ON CONFLICT DO NOTHING"
_DONE = "SELECT id FROM users WHERE batch_status = 'completed'"
_DEAD = "SELECT id FROM users WHERE batch_status = 'failed' AND next_attempt_at = 'infinity'"


class RunFailed(Exception):
    """The system did not work everything off. The message is one line for a person."""


async def perform(plan: Plan, count: int, span_s: float, folder: Path) -> Account:
    """Let `count` orders and as many rows come in during `span_s`, and return what became of them.

    Raises `RunFailed`, and `StackError` for a server that does not start again.
    """
    orders, rows = (draw_orders(random.Random(f"{what} {plan.seed}"), count) for what in ("orders", "rows"))
    fills = any(strike.action is Action.FILL for strike in plan.strikes)
    async with System(folder, SmallDisk(folder) if fills else None) as system:
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(_publish(system, orders, 0 if plan.rolls_back else span_s))
            group.create_task(_insert(system, rows, span_s))
            if plan.rolls_back:
                await publishing
            group.create_task(strike_all(system, plan.strikes))
        await _until_worked_off(system)
        return await _account_of_orders(system, orders) + await _account_of_rows(system, rows)


async def _publish(system: System, orders: Sequence[Order], span_s: float) -> None:
    """Publish each order until NATS has confirmed it, always under the same id."""
    began = asyncio.get_running_loop().time()
    for order in orders:
        due = began + span_s * order.number / len(orders)
        await asyncio.sleep(due - asyncio.get_running_loop().time())
        outgoing = Outgoing("order-placed", json.dumps(order._asdict()).encode(), f"order-{order.number}", {})
        await until(partial(_is_published, system, outgoing))


async def _is_published(system: System, outgoing: Outgoing) -> bool:
    with suppress(BrokerUnavailable):
        await publish(system.connection, outgoing)
        return True
    return False


async def _insert(system: System, rows: Sequence[Order], span_s: float) -> None:
    """Insert the rows in portions, each until PostgreSQL has confirmed it."""
    size = -(-len(rows) // _PORTIONS)
    for first in range(0, len(rows), size):
        await until(partial(_is_inserted, system, rows[first : first + size]))
        await asyncio.sleep(span_s / _PORTIONS)


async def _is_inserted(system: System, rows: Sequence[Order]) -> bool:
    with suppress(*DATABASE_AWAY):
        connection = await asyncpg.connect(system.postgres.dsn)
        try:
            await connection.execute(
                _INSERT, [row.number for row in rows], [f"{row.number} {row.fate}" for row in rows]
            )
        finally:
            connection.terminate()
        return True
    return False


async def _until_worked_off(system: System) -> None:
    try:
        await until(partial(_is_worked_off, system), _WORKED_OFF_WITHIN_S)
    except TimeoutError:
        raise RunFailed(f"not worked off within {_WORKED_OFF_WITHIN_S:g} s: {await system.what_is_left()}") from None


async def _is_worked_off(system: System) -> bool:
    with suppress(BrokerUnavailable, NatsError):
        if await system.is_worked_off():
            return True
    await asyncio.sleep(_LOOK_S)
    return False


async def _account_of_orders(system: System, orders: Sequence[Order]) -> Account:
    dead = Counter(int(dead_letter.data["number"]) for dead_letter in await system.stream.dead_letters())
    return compare("order", orders, entries(system.events_ledger), dead)


async def _account_of_rows(system: System, rows: Sequence[Order]) -> Account:
    completed = await system.queue.owner.fetch(_DONE)
    failed = await system.queue.owner.fetch(_DEAD)
    entered = entries(system.rows_ledger)
    done = Counter({row["id"]: entered[row["id"]] for row in completed})
    return compare("row", rows, done, Counter(row["id"] for row in failed))
