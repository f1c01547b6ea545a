"""Workers in simulated time: how they use their slots, what an outage of the database repeats, and holds."""

from __future__ import annotations

import asyncio
import copy
import itertools
import math
import selectors
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, cast

import pytest

from keda_jobs.batch import BatchContext, BatchSettings, batch_job
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.batch.row_runner import RowRunner
from keda_jobs.batch.worker import Worker
from keda_jobs.claims import Batch, ClaimQueue, Failure, LeaseLost, SettledRows
from keda_jobs.claims.rows import ClaimedRow, CompletedRow, QueueHold
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.errors import DatabaseUnavailable, PlatformError
from keda_jobs.runtime.cpu import CpuPool
from keda_jobs.runtime.shutdown import Shutdown

_CALL_S = 0.01
_CALL_TIMEOUT_S = 30


class Jump(selectors.SelectSelector):
    """Selector that lets time pass instead of waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += timeout or 0.0
        return super().select(0)


def simulate(work: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `work` in a loop whose clock, and that of `time.monotonic`, jumps to the next timer."""
    selector = Jump()
    loop = asyncio.SelectorEventLoop(selector)
    monkeypatch.setattr(loop, "time", lambda: selector.now)
    monkeypatch.setattr(time, "monotonic", lambda: selector.now)

    async def run() -> None:
        await work()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())


class Queue:
    """Queue of `rows` in memory, with leases. Calls get no answer while `is_away` returns how long they wait for it."""

    def __init__(self, rows: int, lease_s: float, is_away: Callable[[], float] = lambda: 0.0) -> None:
        self.waiting = deque(range(rows))
        self.suspects: set[int] = set()
        self.done: list[int] = []
        self.open: dict[int, set[int]] = {}
        self.most_open = 0
        self.sizes: list[int] = []
        self._leases: dict[int, float] = {}
        self._lease_s = lease_s
        self._is_away = is_away
        self._ids = itertools.count(1)
        self._holds_until = [0.0]
        self.on_hold: Callable[[QueueHold], None] = lambda hold: None

    def connect(self) -> Queue:
        """Return the queue as another worker sees it."""
        return copy.copy(self)

    async def hold(self, hold: QueueHold) -> None:
        await self._call()
        self._holds_until.append(time.monotonic() + hold.delay_s)

    async def held(self) -> QueueHold | None:
        await self._call()
        return self._hold()

    async def claimable(self) -> int:
        await self._call()
        if self._hold():
            return 0
        return len(self.waiting) + sum(len(self.open[batch]) for batch in self._expired())

    async def sum_up_old_batches(self) -> int:
        return 0

    async def recover(self) -> int | None:
        await self._call()
        for batch in self._expired():
            rows = self.open.pop(batch)
            self.suspects |= rows
            self.waiting.extend(sorted(rows))
            return len(rows)
        return None

    async def claim(self, most: int, *, suspects: bool = True) -> Batch | None:
        await self._call()
        if self._hold() or not self.waiting or (self.waiting[0] in self.suspects and not suspects):
            return None
        is_suspect = self.waiting[0] in self.suspects
        keys = [self.waiting.popleft() for _ in range(min(most, len(self.waiting)))]
        batch = Batch(next(self._ids), ["1"], [ClaimedRow(key, 0, (key,)) for key in keys], is_suspect)
        self.open[batch.batch_id] = set(keys)
        self._leases[batch.batch_id] = time.monotonic() + self._lease_s
        self.most_open = max(self.most_open, len(self.open))
        return batch

    async def renew(self, batch: Batch) -> None:
        await self._fenced(batch)

    async def settle(self, batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> SettledRows:
        await self._fenced(batch)
        self.sizes.append(len(completed))
        self.done += [row.row.key for row in completed]
        self.open[batch.batch_id] -= {row.row.key for row in completed}
        return SettledRows(completed=len(completed))

    async def close(self, batch: Batch, error: str | None = None) -> int:
        await self._fenced(batch)
        returned = self.open.pop(batch.batch_id)
        self.waiting.extendleft(returned)
        return len(returned)

    async def _fenced(self, batch: Batch) -> None:
        await self._call()
        if batch.batch_id not in self.open or self._leases[batch.batch_id] <= time.monotonic():
            raise LeaseLost(f"batch {batch.batch_id}")
        self._leases[batch.batch_id] = time.monotonic() + self._lease_s
        if hold := self._hold():
            self.on_hold(hold)

    def _hold(self) -> QueueHold | None:
        left_s = max(self._holds_until) - time.monotonic()
        return QueueHold(left_s, "quota") if left_s > 0 else None

    async def _call(self) -> None:
        await asyncio.sleep(_CALL_S)
        if silent_s := self._is_away():
            await asyncio.sleep(min(silent_s, _CALL_TIMEOUT_S))
            raise DatabaseUnavailable("away")

    def _expired(self) -> list[int]:
        return [batch for batch in self.open if self._leases[batch] <= time.monotonic()]


class Number(NamedTuple):
    number: int


def worker_of(handle: Callable[[Number, BatchContext], Awaitable[None]], queue: Queue, **changed: Any) -> Worker:
    settings = BatchSettings.model_validate({"pg_dsn": "postgresql://nowhere/test", **changed})
    shutdown, policy = Shutdown(settings.shutdown_grace_s), RetryPolicy(3, 60)
    job = batch_job(handle, BatchSettings, table="numbers")
    runner = RowRunner(job.handler, BatchContext(settings, CpuPool(), None), policy, shutdown)
    return Worker(cast("ClaimQueue", queue), runner, settings, BatchMetrics("simulated"), shutdown)


@pytest.mark.parametrize(("claim_size", "workers"), [(500, 8), (500, 16), (2500, 64)])
def test_slow_rows_hold_up_no_slot_but_their_own(
    monkeypatch: pytest.MonkeyPatch, claim_size: int, workers: int
) -> None:
    queue = Queue(25_000, lease_s=60)
    runs: list[tuple[float, float]] = []

    async def handle(row: Number, _job: BatchContext) -> None:
        runs.append((time.monotonic(), 1.0 if row.number % 500 == 0 else 0.002))  # 0.2 % are slow
        await asyncio.sleep(runs[-1][1])

    async def work() -> None:
        await worker_of(handle, queue, claim_size=claim_size, workers=workers).run()

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(25_000))
    # Until the last row starts, because nothing follows it.
    last, _ = runs[-1]
    share = sum(min(duration_s, last - began) for began, duration_s in runs) / (last * workers)
    assert share > 0.8, f"{share:.0%} of the slots are used, with up to {queue.most_open} batches in hand"


def test_results_of_a_handler_that_never_waits_are_written_in_few_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(40_000, lease_s=60)

    async def handle(_row: Number, _job: BatchContext) -> None: ...

    async def work() -> None:
        await worker_of(handle, queue).run()

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(40_000))
    # Each costs as much as 300 rows do.
    assert len(queue.sizes) <= 12


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "is silent"])
def test_an_outage_beyond_the_lease_repeats_only_rows_that_were_not_written_when_it_began(
    monkeypatch: pytest.MonkeyPatch, is_silent: bool
) -> None:
    away_from, away_until, row_s, workers = 3.0, 15.0, 0.005, 8
    runs: Counter[int] = Counter()
    begun_away = 0

    def is_away() -> float:
        left_s = away_until - time.monotonic()
        if not 0 < left_s < away_until - away_from:
            return 0.0
        return left_s if is_silent else _CALL_S

    queue = Queue(20_000, 8, is_away)

    async def handle(row: Number, _job: BatchContext) -> None:
        nonlocal begun_away
        runs[row.number] += 1
        begun_away += is_away() > 0
        await asyncio.sleep(row_s)

    async def work() -> None:
        await worker_of(handle, queue, lease_s=8).run()

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(20_000))
    twice = sum(runs.values()) - 20_000
    # What waited to be written, for a quarter of a second. Silence is noticed after an eighth of the lease.
    assert twice <= (1.5 if is_silent else 0.5) * workers / row_s
    assert begun_away <= twice


def test_claims_that_fail_do_not_stop_rows_whose_results_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(8_000, lease_s=60)
    claim = queue.claim
    last_end = 0.0

    async def claim_once(most: int, *, suspects: bool = True) -> Batch | None:
        if queue.open:
            raise DatabaseUnavailable("the next ranges are locked")
        return await claim(most, suspects=suspects)

    monkeypatch.setattr(queue, "claim", claim_once)

    async def handle(_row: Number, _job: BatchContext) -> None:
        nonlocal last_end
        await asyncio.sleep(0.01)
        last_end = time.monotonic()

    async def work() -> None:
        await worker_of(handle, queue, claim_size=8_000).run()

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(8_000))
    # Ten seconds in eight slots, after the first claim.
    assert last_end < 10.1


def test_suspect_rows_are_alone_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(100, lease_s=60)
    queue.suspects = set(range(40, 60))
    together = 0

    async def handle(row: Number, _job: BatchContext) -> None:
        nonlocal together
        await asyncio.sleep(1 if row.number % 7 == 0 else 0.01)
        held = set().union(*queue.open.values())
        together += bool(held & queue.suspects) and len(queue.open) > 1

    async def work() -> None:
        await worker_of(handle, queue, claim_size=10).run()

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(100))
    assert queue.most_open > 1
    assert together == 0


def test_a_worker_with_a_slow_row_takes_rows_that_are_inserted_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(1, lease_s=60)
    ended_at: dict[int, float] = {}

    async def handle(row: Number, _job: BatchContext) -> None:
        if row.number == 0:
            await asyncio.sleep(5)
            queue.waiting.append(1)
            await asyncio.sleep(50)
        ended_at[row.number] = time.monotonic()

    async def work() -> None:
        await worker_of(handle, queue).run()

    simulate(work, monkeypatch)
    assert queue.done == [1, 0]
    assert math.isclose(ended_at[1], 5, abs_tol=2)


def test_a_bug_in_one_batch_ends_the_others_as_a_signal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(100, lease_s=60)
    settle = queue.settle

    async def fail(batch: Batch, completed: Sequence[CompletedRow], failures: Sequence[Failure]) -> SettledRows:
        if any(row.row.key == 15 for row in completed):
            raise ZeroDivisionError
        return await settle(batch, completed, failures)

    monkeypatch.setattr(queue, "settle", fail)

    async def handle(row: Number, _job: BatchContext) -> None:
        await asyncio.sleep(0.5 if row.number == 5 else 0.01)

    async def work() -> None:
        with pytest.raises(ZeroDivisionError):
            await worker_of(handle, queue, claim_size=10).run()

    simulate(work, monkeypatch)
    assert not queue.open
    assert sorted([*queue.done, *queue.waiting]) == list(range(100))


@pytest.mark.parametrize("hold_s", [20, 600])
def test_all_workers_hold_and_a_long_hold_ends_them(monkeypatch: pytest.MonkeyPatch, hold_s: float) -> None:
    """Let a row of one worker ask for a hold. Rows of both start again after it, and each is done once."""
    queue = Queue(4_000, lease_s=60)
    asked_at = 0.0
    begun: list[float] = []
    ended_at: list[float] = []

    async def handle(row: Number, _job: BatchContext) -> None:
        nonlocal asked_at
        begun.append(time.monotonic())
        await asyncio.sleep(0.05)
        if row.number == 700 and not asked_at:
            asked_at = time.monotonic()
            raise PlatformError("quota used up", delay_s=hold_s)

    async def run_worker(queue: Queue) -> None:
        await worker_of(handle, queue, claim_size=1000).run()
        ended_at.append(time.monotonic())

    async def work() -> None:
        await asyncio.gather(run_worker(queue), run_worker(queue.connect()))
        if hold_s > 30:
            assert len(queue.done) < 4_000
            assert queue.open == {}
            assert max(ended_at) < asked_at + 1, "no pod is held"
            await run_worker(queue.connect())
            assert len(begun) == len(queue.done) + 1, "a worker started meanwhile ends at once"
            assert ended_at.pop() < asked_at + 2
            await asyncio.sleep(hold_s)
            await run_worker(queue.connect())

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(4_000))
    # A write tells the other worker, at the latest a quarter of a second after a result.
    assert [moment for moment in begun if asked_at + 1 < moment < asked_at + hold_s] == []
    assert len(begun) == 4_001


def test_a_worker_that_starts_in_the_last_seconds_of_a_hold_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(10, lease_s=60)
    begun: list[float] = []

    async def handle(_row: Number, _job: BatchContext) -> None:
        begun.append(time.monotonic())

    async def work() -> None:
        await queue.hold(QueueHold(25, "quota"))
        await worker_of(handle, queue, claim_timeout_s=5).run()

    simulate(work, monkeypatch)
    assert sorted(queue.done) == list(range(10))
    assert min(begun) > 25
