"""Whatever an application does to its rows, every row that waits is in a range, and the scaler sees it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest

from keda_jobs.claims import Batch, ClaimQueue, Failure, LeaseLost
from keda_jobs.claims.failed_rows import FailedRows, RowFilter

from .harness import Owner, QueueHarness, batch_keys, failures

_STEPS = 60
_KEYS = 120


async def insert(queue: QueueHarness, first: int, last: int) -> None:
    await queue.owner.execute(
        "INSERT INTO users (id, next_attempt_at) SELECT n, '2026-01-01' FROM generate_series($1::int, $2) n",
        first,
        last,
    )


async def put_off(queue: QueueHarness, first: int, last: int, by: str) -> None:
    await queue.owner.execute(
        f"UPDATE users SET next_attempt_at = next_attempt_at + interval '{by}' WHERE id BETWEEN $1 AND $2", first, last
    )


async def test_rows_put_off_and_back_and_off_leave_no_neighbour_behind(users: QueueHarness) -> None:
    await insert(users, 1, 50)
    await insert(users, 51, 100)
    await put_off(users, 26, 75, "10 years")
    await put_off(users, 26, 75, "-10 years")
    await put_off(users, 51, 75, "10 years")
    assert await users.claimable() == await users.recount() == 75
    assert await users.drain(await users.worker()) == 75
    assert await users.keys("batch_status = 'pending'") == list(range(51, 76))
    assert await users.claimable() == await users.recount() == 0


async def test_ranges_that_begin_at_the_same_row_lose_the_right_rows(users: QueueHarness) -> None:
    await insert(users, 1, 100)
    await users.owner.execute("DELETE FROM users WHERE id <= 10")
    await insert(users, 1, 10)
    await put_off(users, 1, 10, "1 year")
    await put_off(users, 11, 20, "1 year")
    assert await users.claimable() == await users.recount() == 80
    assert await users.drain(await users.worker()) == 80


async def test_a_retry_after_an_undo_leaves_no_failed_row_behind(users: QueueHarness) -> None:
    await users.insert(range(1, 101))
    worker = await users.worker()
    batch = await worker.claim(100)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, 600))
    await put_off(users, 26, 75, "10 years")
    await put_off(users, 26, 75, "-10 years")
    failed = FailedRows(users.owner, users.table)
    rows = await failed.find(RowFilter(keys=frozenset(range(1, 61))), 100)
    assert (await failed.reset(rows)).rows == 60
    assert await users.claimable() == await users.recount() == 60
    assert await users.drain(worker) == 60
    await users.make_due()
    assert await users.claimable() == await users.recount() == 40
    assert await users.drain(worker) == 40


class Story:
    """Random changes of `users` by applications, people and workers, one after the other."""

    def __init__(self, queue: QueueHarness, worker: ClaimQueue, seed: int, *, fresh_sessions: bool) -> None:
        self._queue = queue
        self._worker = worker
        self._random = random.Random(seed)
        self._fresh_sessions = fresh_sessions
        self._session: Owner | None = None
        self._held: list[Batch] = []
        self._changes = (
            self._insert, self._copy, self._upsert, self._merge, self._put_off, self._put_off, self._undo, self._undo,
            self._reset, self._set_status, self._edit, self._delete, self._move,
        )  # fmt: skip

    async def step(self) -> str:
        """Take one step and return its name."""
        step = self._random.choice(self.steps())
        return f"{step.__name__}: {await step()}"

    async def check(self) -> bool:
        """Return whether the scaler sees what a full count finds."""
        claimable, counted = await self._queue.claimable_and_recount()
        return claimable == counted

    def steps(self) -> Sequence[Callable[[], Awaitable[str]]]:
        """List the steps, the common ones several times."""
        claims = [self._claim] * 3 + [self._settle] * 2 + [self._close, self._recover]
        return [self._change] * 12 + claims + [self._roll_back, self._retry]

    async def finish(self) -> None:
        """Complete everything that waits."""
        for batch in self._held:
            with suppress(LeaseLost):
                await self._worker.close(batch)
        await self._queue.expire_leases()
        while await self._worker.recover() is not None:
            pass
        await self._queue.owner.execute(
            "UPDATE users SET next_attempt_at = now() WHERE batch_status IN ('pending', 'failed')"
        )
        await self._queue.drain(self._worker)

    async def _connect(self) -> Owner:
        if self._session is None or self._fresh_sessions:
            self._session = await self._queue.connect()
        return self._session

    async def _change(self) -> str:
        change = self._random.choice(self._changes)
        await change(await self._connect(), range(1, _KEYS))
        return change.__name__

    async def _roll_back(self) -> str:
        """Change rows, and take a part of it or all of it back."""
        session = await self._connect()
        first, second = self._random.choices(self._changes, k=2)
        transaction = session.transaction()
        await transaction.start()
        await first(session, range(1, _KEYS))
        savepoint = session.transaction()
        await savepoint.start()
        await second(session, range(1, _KEYS))
        await savepoint.rollback()
        await self._random.choice((transaction.commit, transaction.rollback))()
        return f"{first.__name__} {second.__name__}"

    def _run(self, keys: range) -> list[int]:
        first = self._random.randrange(len(keys))
        return list(keys[first : first + self._random.randint(1, 50)])

    def _when(self) -> str:
        return self._random.choice(
            ["'2026-01-01'", "'2026-01-01'", "now()", "now() + interval '1 year'", "'infinity'", "'2035-01-01'"]
        )

    def _insert_when(self) -> str:
        """Choose a time that no other transaction gives: a row that is inserted again has another range than before."""
        return self._random.choice(["now()", "now() + interval '1 year'", "now() - interval '1 year'", "'infinity'"])

    async def _insert(self, session: Owner, keys: range) -> None:
        await session.execute(
            f"INSERT INTO users (id, next_attempt_at) SELECT n, {self._insert_when()} FROM unnest($1::int[]) n"
            " WHERE NOT EXISTS (SELECT FROM users WHERE id = n)",
            self._run(keys),
        )

    async def _copy(self, session: Owner, keys: range) -> None:
        taken = {row[0] for row in await session.fetch("SELECT id FROM users")}
        status = self._random.choice(["pending", "pending", "failed", "processing", "completed"])
        records = [(key, status) for key in self._run(keys) if key not in taken]
        await session.copy_records_to_table("users", records=records, columns=["id", "batch_status"])

    async def _upsert(self, session: Owner, keys: range) -> None:
        await session.execute(
            f"INSERT INTO users (id, next_attempt_at) SELECT n, {self._insert_when()} FROM unnest($1::int[]) n"
            " ON CONFLICT (id) DO UPDATE SET next_attempt_at = excluded.next_attempt_at, batch_status = 'pending'",
            self._run(keys),
        )

    async def _merge(self, session: Owner, keys: range) -> None:
        await session.execute(
            f"""
MERGE INTO users USING (SELECT unnest($1::int[]) AS n) AS given ON id = n
WHEN MATCHED AND n % 3 = 0 THEN DELETE
WHEN MATCHED AND n % 3 = 1 THEN UPDATE SET next_attempt_at = {self._when()}
WHEN NOT MATCHED THEN INSERT (id, next_attempt_at) VALUES (n, {self._insert_when()})""",
            self._run(keys),
        )

    async def _update(self, session: Owner, keys: list[int], change: str) -> None:
        await session.execute(f"UPDATE users SET {change} WHERE id = ANY($1)", keys)

    async def _put_off(self, session: Owner, keys: range) -> None:
        await self._update(session, self._run(keys), "next_attempt_at = next_attempt_at + interval '1 year'")

    async def _undo(self, session: Owner, keys: range) -> None:
        change = self._random.choice(["next_attempt_at - interval '1 year'", self._when()])
        await self._update(session, self._run(keys), f"next_attempt_at = {change}")

    async def _reset(self, session: Owner, keys: range) -> None:
        change = self._random.choice(["", ", batch_id = NULL", ", next_attempt_at = now()", ", attempts = 7"])
        await self._update(session, self._run(keys), f"batch_status = 'pending'{change}")

    async def _set_status(self, session: Owner, keys: range) -> None:
        change = self._random.choice(
            ["'processing'", "'processing', batch_id = NULL", "'failed', next_attempt_at = 'infinity'", "'failed'"]
        )
        await self._update(session, self._run(keys), f"batch_status = {change}")

    async def _edit(self, session: Owner, keys: range) -> None:
        await self._update(session, self._run(keys), "name = name || '!'")

    async def _delete(self, session: Owner, keys: range) -> None:
        await session.execute("DELETE FROM users WHERE id = ANY($1)", self._run(keys))

    async def _move(self, session: Owner, keys: range) -> None:
        """Give rows keys that no row had, of the same parity."""
        shift = await session.fetchval("SELECT 2 * nextval('keda_jobs.batch_jobs_batch_id_seq') * 1000")
        await self._update(session, self._run(keys)[:3], f"id = id + {shift}")

    async def _claim(self) -> str:
        if batch := await self._worker.claim(self._random.randint(1, 60)):
            self._held.append(batch)
        return str(batch_keys(batch))

    async def _settle(self) -> str:
        if not self._held:
            return "nothing"
        batch = self._random.choice(self._held)
        rows = self._random.sample(batch.rows, self._random.randint(0, len(batch.rows)))
        failed = [Failure(row.key, "it broke", self._random.choice([None, 0.0, 600.0])) for row in rows[::3]]
        completed = self._queue.results(row for number, row in enumerate(rows) if number % 3)
        with suppress(LeaseLost):
            await self._worker.settle(batch, completed, failed)
        return f"{len(completed)} {len(failed)}"

    async def _close(self) -> str:
        if not self._held:
            return "nothing"
        batch = self._held.pop(self._random.randrange(len(self._held)))
        with suppress(LeaseLost):
            await self._worker.close(batch)
        return f"batch {batch.batch_id}"

    async def _recover(self) -> str:
        await self._queue.expire_leases()
        return str(await self._worker.recover())

    async def _retry(self) -> str:
        failed = FailedRows(await self._connect(), self._queue.table)
        rows = await failed.find(RowFilter(), 1000)
        chosen = self._random.sample(rows, self._random.randint(0, len(rows)))
        return str(await failed.reset(chosen) if chosen else "nothing")


class ConcurrentStory(Story):
    """Changes at the same time as others and as claims. Until a claim comes by, the scaler may see too many rows."""

    async def check(self) -> bool:
        """Return whether the scaler sees at least what a full count finds."""
        claimable, counted = await self._queue.claimable_and_recount()
        return claimable >= counted

    def steps(self) -> Sequence[Callable[[], Awaitable[str]]]:
        """List the steps, the common ones several times."""
        return [*super().steps(), *[self._interleave, self._change_during_claim] * 3]

    def _insert_when(self) -> str:
        return self._when()

    async def _interleave(self) -> str:
        """Change other rows in two transactions at once, the first to begin is the last to end."""
        sessions = [await self._queue.connect() for _ in range(2)]
        transactions = [session.transaction() for session in sessions]
        names = []
        for session, transaction, keys in zip(
            sessions, transactions, (range(1, _KEYS, 2), range(2, _KEYS, 2)), strict=True
        ):
            await transaction.start()
            change = self._random.choice(self._changes)
            await change(session, keys)
            names.append(change.__name__)
        for transaction in reversed(transactions):
            await self._random.choice((transaction.commit, transaction.commit, transaction.rollback))()
        return " ".join(names)

    async def _change_during_claim(self) -> str:
        """Claim while a transaction is open that changed rows."""
        session = await self._queue.connect()
        transaction = session.transaction()
        await transaction.start()
        change = self._random.choice(self._changes)
        await change(session, range(1, _KEYS))
        claim = asyncio.create_task(self._worker.claim(self._random.randint(1, 60)))
        await asyncio.sleep(0)
        await self._random.choice((transaction.commit, transaction.rollback))()
        if batch := await claim:
            self._held.append(batch)
        return change.__name__


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fresh_sessions", [False, True], ids=["one-session", "fresh-sessions"])
@pytest.mark.parametrize("kind", [Story, ConcurrentStory])
async def test_no_story_leaves_a_row_behind(
    users: QueueHarness, kind: type[Story], seed: int, *, fresh_sessions: bool
) -> None:
    story = kind(users, await users.worker(), seed, fresh_sessions=fresh_sessions)
    told: list[str] = []
    for _ in range(_STEPS):
        told.append(await story.step())
        assert await story.check(), "\n".join(told)
    await story.finish()
    assert await users.claimable() == await users.recount() == 0, "\n".join(told)
    assert await users.keys("batch_status <> 'completed' AND next_attempt_at < 'infinity'") == [], "\n".join(told)
    # A retry subtracts the rows that it sets back from those that failed permanently.
    assert all(batch.adds_up for batch in await users.batches() if batch.given_up >= 0), "\n".join(told)
