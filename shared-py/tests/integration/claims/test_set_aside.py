"""A bad row affects only itself: it is set aside with its reason, and its neighbours are done."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from keda_jobs.claims import SettledRows, schema
from keda_jobs.claims.check import QueueCheck
from keda_jobs.errors import DatabaseUnavailable
from stack import PostgresServer, until

from .conftest import write_migrations
from .example_tables import USERS
from .harness import QueueHarness, failures

_TABLE = dataclasses.replace(USERS.table, reads=("name", "email", "born"))
_SKIPS = "RowRefused: a trigger of the table skips its update"


@dataclass(frozen=True)
class Cause:
    """What makes a row bad: its value, and what is done to the table after that. `error` is the reason to be shown."""

    value: str
    ddl: str
    error: str
    is_written: bool = False
    """True where the row itself can be written."""


def _trigger(body: str, kind: str = "BEFORE UPDATE ON users") -> str:
    return f"""
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$;
CREATE {"CONSTRAINT" if "INITIALLY" in kind else ""} TRIGGER meddle {kind} FOR EACH ROW WHEN (OLD.name = 'bad')
EXECUTE FUNCTION meddle()"""


_BAD = "name = 'bad'"
_RAISE = "RAISE 'no %', OLD.email"
CAUSES = {
    "a date beyond Python's": Cause("born = '20204-01-01'", "", "RowRefused: ", is_written=True),
    "a date before Christ": Cause("born = '0044-03-15 BC'", "", "RowRefused: ", is_written=True),
    "a check": Cause(
        _BAD,
        "ALTER TABLE users ADD CONSTRAINT good CHECK (name <> 'bad') NOT VALID",
        'RowRefused: new row for relation "users" violates check constraint "good"',
    ),
    "a trigger": Cause(_BAD, _trigger(_RAISE), "RowRefused: no secret"),
    "a trigger that denies": Cause(
        _BAD, _trigger(f"{_RAISE} USING ERRCODE = 'insufficient_privilege'"), "RowRefused: no secret"
    ),
    "a trigger that gives up": Cause(
        _BAD, _trigger(f"{_RAISE} USING ERRCODE = 'deadlock_detected'"), "PostgreSQL: DeadlockDetectedError (40P01)"
    ),
    "a trigger that is cancelled": Cause(
        _BAD, _trigger(f"{_RAISE} USING ERRCODE = 'query_canceled'"), "RowRefused: no secret"
    ),
    "a trigger with a bug": Cause(_BAD, _trigger("PERFORM nothing()"), "RowRefused: function nothing() does not exist"),
    "a deferred trigger": Cause(
        _BAD, _trigger(_RAISE, "AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED"), "RowRefused: no secret"
    ),
    "a trigger that skips": Cause(_BAD, _trigger("RETURN NULL"), _SKIPS),
}


@pytest.fixture
async def people(own_users: QueueHarness) -> QueueHarness:
    """Return users that have a date of birth, and a secret."""
    await own_users.owner.execute(
        "ALTER TABLE users ADD COLUMN born date; GRANT SELECT (born) ON users TO users_worker"
    )
    return own_users


async def spoil(queue: QueueHarness, cause: Cause, bad: list[int]) -> None:
    """Make rows bad."""
    await queue.owner.execute(f"UPDATE users SET email = 'secret', {cause.value} WHERE id = ANY('{set(bad)}')")
    await queue.owner.execute(cause.ddl or "SELECT")


async def aside(queue: QueueHarness) -> list[tuple[int, str]]:
    """Read keys and reasons of the rows that are set aside in the queue."""
    found = await queue.owner.fetch("""
SELECT id, range.error FROM keda_jobs.users_queue AS range JOIN users ON id BETWEEN lo AND hi
WHERE range.error IS NOT NULL AND range.batch_id IS NULL AND users.batch_status = range.batch_status ORDER BY 1""")
    return [(row[0], row[1]) for row in found]


_FOUR, _ALL = [1, 16, 17, 40], list(range(1, 41))


@pytest.mark.parametrize(
    ("cause", "bad"),
    [
        *(pytest.param(cause, _FOUR, id=name) for name, cause in CAUSES.items()),
        *(pytest.param(CAUSES[name], _ALL, id=f"{name}, all rows") for name in ("a date beyond Python's", "a check")),
    ],
)
async def test_a_row_that_cannot_be_claimed_is_set_aside(
    people: QueueHarness, cause: Cause, bad: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    await people.insert(range(1, 41))
    await spoil(people, cause, bad)
    with caplog.at_level(logging.DEBUG):
        assert await people.drain(await people.worker(table=_TABLE)) == 40 - len(bad)
    assert "secret" not in caplog.text
    if cause.is_written:
        assert await people.keys("batch_status = 'failed' AND attempts = 1 AND next_attempt_at > now()") == bad
        assert set(await people.rows("left(error, 12)", "error IS NOT NULL")) == {(cause.error,)}
        assert await aside(people) == []
    else:
        assert await aside(people) == [(key, cause.error) for key in bad]
    assert all(batch.adds_up and batch.status == "completed" for batch in await people.batches())
    assert await people.claimable() == 0


# What the server raises when it is full, away, read-only or not to be logged in to, and what is no error elsewhere.
_CODES = [
    "53200",
    "53300",
    "57P01",
    "58030",
    "25006",
    "08001",
    "08006",
    "28P01",
    "3D000",
    "P0004",
    "XX000",
    "01000",
    "02000",
]


async def test_a_trigger_may_raise_any_error_for_a_row(people: QueueHarness, caplog: pytest.LogCaptureFixture) -> None:
    await people.insert(range(1, 31))
    await people.owner.execute("UPDATE users SET name = codes[id / 2] FROM (SELECT $1::text[] AS codes) AS c", _CODES)
    await people.owner.execute(
        _trigger("IF OLD.name IS NOT NULL AND OLD.id % 2 = 0 THEN RAISE 'secret' USING ERRCODE = OLD.name; END IF;"
                 " RETURN NEW").replace("WHEN (OLD.name = 'bad')", "")
    )  # fmt: skip
    with caplog.at_level(logging.DEBUG):
        assert await people.drain(await people.worker(table=_TABLE)) == 30 - len(_CODES)
    assert [key for key, _ in await aside(people)] == [2 * number for number in range(1, len(_CODES) + 1)]
    assert "secret" not in caplog.text


async def test_a_deferred_trigger_may_refuse_a_row_that_killed_its_worker(own_users: QueueHarness) -> None:
    await own_users.insert([3])
    worker = await own_users.worker()
    for _ in range(2):
        await worker.claim(5)
        await own_users.expire_leases()
        if await own_users.owner.fetchval("SELECT count(*) FROM batch_jobs") == 1:
            await worker.recover()
    await own_users.owner.execute(
        _trigger(_RAISE, "AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED").replace("OLD.name = 'bad'", "true")
    )
    assert await worker.recover() == 1
    assert [key for key, _ in await aside(own_users)] == [3]


async def test_a_text_that_is_no_utf_8_fails_its_row(postgres_server: PostgresServer, tmp_path: Path) -> None:
    name = "claims_sql_ascii"
    server = await asyncpg.connect(postgres_server.dsn)
    await server.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    owner = await asyncpg.connect(postgres_server.dsn_of(name))
    await schema.apply(owner, USERS.table, write_migrations(USERS, tmp_path / "migrations"))
    texts = QueueHarness(postgres_server, name, USERS, owner)
    await texts.insert(range(1, 6))
    await owner.execute(r"UPDATE users SET name = E'\xff' WHERE id = 3")
    assert await texts.drain(await texts.worker()) == 4
    assert await texts.keys("batch_status = 'failed' AND error LIKE 'RowRefused: invalid byte sequence%'") == [3]
    await texts.close()
    await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await server.close()


async def make_due(queue: QueueHarness) -> None:
    """Let the time of every row that is set aside for a while come."""
    await queue.owner.execute(
        "UPDATE keda_jobs.users_queue SET held_back_until = now() WHERE held_back_until < 'infinity'"
    )


async def test_a_refused_row_is_tried_up_to_the_limit(people: QueueHarness) -> None:
    await people.insert(range(1, 6))
    await spoil(people, CAUSES["a check"], [3])
    worker = await people.worker(table=_TABLE, max_attempts=3)
    waits = "round(extract(epoch FROM nullif(held_back_until, 'infinity') - now()) / 60)::integer"
    for tries, wait in (1, 1), (2, 2), (3, None), (3, None):
        await people.drain(worker)
        [found] = await people.owner.fetch(f"SELECT lo, tries, {waits} FROM keda_jobs.users_queue")
        assert tuple(found) == (3, tries, wait)
        await make_due(people)
    assert await people.rows("attempts, batch_status", "id = 3") == [(0, "pending")]


async def test_a_row_that_was_mended_is_done_at_the_next_try(people: QueueHarness) -> None:
    await people.insert(range(1, 6))
    await spoil(people, CAUSES["a check"], [3])
    worker = await people.worker(table=_TABLE)
    assert await people.drain(worker) == 4
    await people.owner.execute("UPDATE users SET name = 'good' WHERE id = 3")
    await make_due(people)
    assert await people.drain(worker) == 1
    assert await people.ranges() == []


async def test_a_locked_row_is_left_out_and_its_holder_is_named(
    users: QueueHarness, caplog: pytest.LogCaptureFixture
) -> None:
    await users.insert(range(1, 41))
    person, worker = await users.connect(), await users.worker()
    await person.execute("SET application_name = 'psql'")
    [(pid, role)] = await person.fetch("SELECT pg_backend_pid(), current_user")
    async with person.transaction():
        await person.execute("UPDATE users SET name = 'secret' WHERE id IN (7, 40)")
        assert await users.drain(worker) == 38
    reason = f"locked by process {pid} (psql, role {role})"
    assert await aside(users) == [(7, reason), (40, reason)]
    assert f"2 rows are set aside: {reason}" in caplog.text
    assert await users.claimable() == 0
    await make_due(users)
    assert await users.claimable() == 2
    assert await users.drain(worker) == 2
    assert await users.rows("attempts, count(*)", "name = 'secret' GROUP BY attempts, id") == [(1, 1)] * 2


async def test_the_holder_of_a_locked_table_is_named(users: QueueHarness) -> None:
    await users.insert(range(1, 6))
    person, worker = await users.connect(), await users.worker()
    pid = await person.fetchval("SELECT pg_backend_pid()")
    async with person.transaction():
        await person.execute("LOCK TABLE users IN SHARE MODE")
        with pytest.raises(DatabaseUnavailable, match=rf"users is locked by process {pid} \("):
            await worker.claim(5)
    assert await users.drain(worker) == 5


async def test_a_row_locked_at_its_end_is_worked_on_again(users: QueueHarness) -> None:
    await users.insert(range(1, 11))
    person, worker = await users.connect(), await users.worker()
    batch = await worker.claim(10)
    assert batch is not None
    async with person.transaction():
        await person.execute("SELECT FROM users WHERE id = 7 FOR UPDATE")
        assert await worker.settle(batch, users.results(batch.rows), []) == SettledRows(completed=9)
        assert await worker.close(batch) == 0
        [(key, reason)] = await aside(users)
        assert (key, reason.partition(" process")[0]) == (7, "locked by")
    await make_due(users)
    assert await users.drain(worker) == 1
    assert await users.statuses() == {"completed": 10}
    assert all(batch.adds_up for batch in await users.batches())


_SLOW = """
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.3); RETURN NEW; END';
CREATE TRIGGER slow BEFORE UPDATE OF batch_status ON users FOR EACH ROW WHEN (OLD.id = 5) EXECUTE FUNCTION slow()"""


@pytest.mark.parametrize("step", ["claim", "settle", "close", "recover"])
async def test_an_application_that_updates_two_rows_is_no_victim_of_a_deadlock(
    own_users: QueueHarness, step: str
) -> None:
    await own_users.insert(range(1, 11))
    person, worker = await own_users.connect(), await own_users.worker()
    batch = None if step == "claim" else await worker.claim(10)
    if step == "recover":
        await own_users.expire_leases()
    await own_users.owner.execute(_SLOW)

    async def work() -> None:
        if batch is None:
            await worker.claim(10)
        elif step == "settle":
            await worker.settle(batch, own_users.results(batch.rows), [])
        else:
            await (worker.close(batch) if step == "close" else worker.recover())

    async with person.transaction():
        await person.execute("UPDATE users SET name = 'a' WHERE id = 10")
        working = asyncio.create_task(work())
        # It has the first rows now, and will want the last.
        await until(
            lambda: own_users.owner.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        )
        await person.execute("UPDATE users SET name = 'b' WHERE id = 1")
    await working
    assert await own_users.keys("name IN ('a', 'b')") == [1, 10]


_REFUSES_ALL = "CREATE TRIGGER refuse BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id = 3) EXECUTE FUNCTION refuse()"
_REFUSES_FAILED = _REFUSES_ALL.replace("OLD.id = 3", "OLD.id = 3 AND NEW.batch_status <> 'pending'")


@pytest.mark.parametrize(
    ("body", "trigger"),
    [
        ("RAISE 'no %', OLD.email", _REFUSES_ALL),
        ("RAISE 'no %', OLD.email", _REFUSES_FAILED),
        ("RETURN NULL", _REFUSES_ALL),
        ("RETURN NULL", _REFUSES_FAILED),
        ("RAISE 'no' USING ERRCODE = 'query_canceled'", _REFUSES_ALL),
    ],
)
@pytest.mark.parametrize("step", ["settle", "fail", "close", "recover", "recover it alone"])
async def test_a_row_that_cannot_be_written_any_more_is_set_aside(
    own_users: QueueHarness, step: str, body: str, trigger: str
) -> None:
    await own_users.insert(range(1, 6) if step != "recover it alone" else [3])
    worker = await own_users.worker()
    if step == "recover it alone":
        await worker.claim(5)
        await own_users.expire_leases()
        await worker.recover()
    batch = await worker.claim(5)
    assert batch is not None
    await own_users.owner.execute(
        f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$; {trigger}"
    )
    if step == "settle":
        assert (await worker.settle(batch, own_users.results(batch.rows), [])).completed == 4
    elif step == "fail":
        assert (await worker.settle(batch, [], failures(batch, 60))).failed == 4
    if step.startswith("recover"):
        await own_users.expire_leases()
        assert await worker.recover() == len(batch.rows)
    else:
        await worker.close(batch)
    assert all(batch.adds_up and batch.status != "running" for batch in await own_users.batches())
    is_given_back = trigger == _REFUSES_FAILED and step in ("close", "recover")
    assert [key for key, _ in await aside(own_users)] == ([] if is_given_back else [3])
    if "secret" not in body and not is_given_back:
        assert await own_users.keys("batch_status = 'processing'") == [3]
    async with aclosing(QueueCheck(own_users.owner, own_users.table, repair=False).run(asyncio.Event())) as checks:
        assert [(check.stranded_rows, check.wrong_ranges) async for check in checks][-1] == (0, 0)
    # It is no obstacle, and done once it can be written.
    await own_users.owner.execute("DROP TRIGGER refuse ON users")
    await make_due(own_users)
    await own_users.make_due()
    await own_users.drain(worker)
    assert await own_users.statuses() == {"completed": len(batch.rows)}
    assert all(batch.adds_up for batch in await own_users.batches())
    assert await own_users.ranges() == []
