"""Strikes as a plan has them, done to a system."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections import defaultdict
from collections.abc import Sequence

from faults.batch.fleet import Worker
from faults.families import freeze, thaw
from faults.waiting import came_true
from stack import Process

from .plan import NATS, POSTGRES, Action, Strike
from .system import ROWS_JOB, System

_SLOW_S, _SLOW_BYTES = 0.1, 50_000.0
_WAIT_FOR_WORKER_S = 3.0


async def strike_all(system: System, strikes: Sequence[Strike]) -> None:
    """Do the strikes at their times. Those of one target come one after the other, those of several may overlap."""
    by_target: dict[str, list[Strike]] = defaultdict(list)
    for strike in strikes:
        by_target[strike.target].append(strike)
    began = asyncio.get_running_loop().time()
    async with asyncio.TaskGroup() as group:
        for its_strikes in by_target.values():
            group.create_task(_strike_one(system, its_strikes, began))


async def _strike_one(system: System, strikes: Sequence[Strike], began: float) -> None:
    for strike in strikes:
        await asyncio.sleep(began + strike.at_s - asyncio.get_running_loop().time())
        await _strike(system, strike)


async def _strike(system: System, strike: Strike) -> None:
    match strike.action:
        case Action.CUT | Action.SILENCE | Action.SLOW:
            await _strike_connections(system, strike)
        case Action.FILL:
            await _fill_disk(system, strike.for_s)
        case Action.ROLL_BACK:
            await _roll_back(system, strike.for_s)
        case _ if strike.target in system.servers:
            await _strike_server(system, strike)
        case _:
            await _strike_worker(system, strike)


async def _strike_connections(system: System, strike: Strike) -> None:
    proxy = system.proxies[strike.target]
    match strike.action:
        case Action.CUT:
            proxy.cut()
        case Action.SILENCE:
            proxy.silence()
        case _:
            proxy.slow_down(_SLOW_S, _SLOW_BYTES)
    await asyncio.sleep(strike.for_s)
    proxy.heal()


async def _strike_server(system: System, strike: Strike) -> None:
    server = system.servers[strike.target]
    if strike.action is Action.FREEZE:
        await _freeze(server, strike.for_s)
    elif strike.target == POSTGRES:
        await system.restart_postgres(strike.for_s)
    else:
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(strike.for_s)
        await asyncio.to_thread(server.start)


async def _strike_worker(system: System, strike: Strike) -> None:
    if strike.target == ROWS_JOB:
        await _strike_batch_worker(system, strike)
        return
    worker = system.workers[strike.target]
    match strike.action:
        case Action.FREEZE:
            await _freeze(worker, strike.for_s)
        case Action.STOP:
            worker.signal(signal.SIGTERM)
        case _:
            worker.signal(signal.SIGKILL)


async def _strike_batch_worker(system: System, strike: Strike) -> None:
    """Strike a worker that holds rows. For lack of one the strike is left out."""
    found: list[Worker] = []

    async def one_is_at_work() -> bool:
        found[:] = await system.batch_workers_at_work()
        return bool(found)

    if not await came_true(one_is_at_work, _WAIT_FOR_WORKER_S):
        return
    worker = found[0]
    match strike.action:
        case Action.FREEZE:
            await _freeze(worker, strike.for_s)
        case Action.STOP:
            worker.signal(signal.SIGTERM)
        case _:
            await system.fleet.kill(worker)


async def _freeze(process: Process, for_s: float) -> None:
    freeze(process)
    await asyncio.sleep(for_s)
    thaw(process)


async def _fill_disk(system: System, for_s: float) -> None:
    """Fill the disk, start NATS again while it is full, then make room and start it again.

    After such an error NATS writes nothing more until it is started again.
    """
    assert system.disk is not None
    await asyncio.to_thread(system.disk.fill)
    await asyncio.sleep(for_s)
    await asyncio.to_thread(system.nats.kill)
    await asyncio.to_thread(system.nats.launch)
    await asyncio.sleep(for_s)
    system.disk.make_room()
    await asyncio.to_thread(system.nats.kill)
    await asyncio.to_thread(system.nats.start)


async def _roll_back(system: System, for_s: float) -> None:
    """Copy the streams as they are at one moment, let everybody go on, then restore the copy as after a lost disk."""
    store, copy = system.folder / "nats", system.folder / "nats-copy"
    freeze(system.servers[NATS])
    await asyncio.to_thread(shutil.copytree, store, copy)
    thaw(system.servers[NATS])
    await asyncio.sleep(for_s)
    await asyncio.to_thread(system.nats.kill)
    shutil.rmtree(store)
    copy.rename(store)
    await asyncio.to_thread(system.nats.start)
