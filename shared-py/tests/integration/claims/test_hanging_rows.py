"""A row that takes too long is set aside, and its neighbours are done. A database that is slow loses no row."""

from __future__ import annotations

import asyncio

import pytest

from keda_jobs.claims.failed_rows import FailedRows, RowFilter
from keda_jobs.errors import DatabaseUnavailable

from .harness import QueueHarness, failures

_TOO_LONG = "canceling statement due to statement timeout"
_CANCELLED = "RAISE 'no' USING ERRCODE = 'query_canceled'"


def trigger(body: str, kind: str) -> str:
    """Build a trigger of `users`."""
    return f"""
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$;
CREATE TRIGGER meddle {kind} EXECUTE FUNCTION meddle()"""


async def aside(queue: QueueHarness) -> list[tuple[int, int, str]]:
    """Read keys, tries and reasons of the rows that are set aside in the queue."""
    found = await queue.owner.fetch("SELECT lo, tries, error FROM keda_jobs.users_queue WHERE error <> '' ORDER BY lo")
    return [(row[0], row[1], row[2]) for row in found]


@pytest.mark.parametrize(("status", "moment"), [("processing", "BEFORE"), ("completed", "AFTER")])
async def test_a_row_that_hangs_is_set_aside(own_users: QueueHarness, status: str, moment: str) -> None:
    await own_users.insert(range(1, 151))
    hangs = f"{moment} UPDATE ON users FOR EACH ROW WHEN (OLD.id = 70 AND NEW.batch_status = '{status}')"
    await own_users.owner.execute(trigger("PERFORM pg_sleep(600)", hangs))
    await own_users.drain(await own_users.worker(call_s=3))
    if status == "processing":
        assert await aside(own_users) == [(70, 1, f"RowRefused: {_TOO_LONG}")]
    else:
        assert await own_users.rows("id, error", "batch_status = 'failed'") == [(70, f"ValuesRefused: {_TOO_LONG}")]
    assert await own_users.keys("batch_status = 'completed'") == [key for key in range(1, 151) if key != 70]
    assert await own_users.claimable() == 0
    assert all(batch.adds_up and batch.status == "completed" for batch in await own_users.batches())


async def test_a_table_where_all_rows_are_slow_loses_none(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 41))
    slow = "BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.batch_status = 'processing')"
    await own_users.owner.execute(trigger("PERFORM pg_sleep(0.05)", slow))
    assert await own_users.drain(await own_users.worker(call_s=3)) == 40


@pytest.mark.parametrize(("code", "error"), [("query_canceled", "QueryCanceledError"), ("P0001", "users refuses even")])
async def test_a_table_that_refuses_even_an_update_of_no_row_loses_none(
    own_users: QueueHarness, code: str, error: str
) -> None:
    await own_users.insert(range(1, 41))
    body = _CANCELLED.replace("query_canceled", code)
    await own_users.owner.execute(trigger(body, "BEFORE UPDATE ON users FOR EACH STATEMENT"))
    with pytest.raises(DatabaseUnavailable, match=error):
        await (await own_users.worker()).claim(40)
    assert await aside(own_users) == []
    assert await own_users.claimable() == 40


async def test_rows_wait_untried_where_many_hang(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 41))
    await own_users.owner.execute(trigger(_CANCELLED, "BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id > 10)"))
    assert await own_users.drain(await own_users.worker()) == 10
    untried = "not tried, because 10 other rows took too long"
    assert await aside(own_users) == [
        *((key, 1, "RowRefused: no") for key in range(11, 21)),
        *((key, 0, untried) for key in range(21, 41)),
    ]


async def test_a_retry_leaves_out_rows_that_hang_or_are_refused(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 21))
    worker = await own_users.worker()
    batch = await worker.claim(20)
    assert batch is not None
    await worker.settle(batch, [], failures(batch, None))
    body = "RAISE 'no' USING ERRCODE = CASE OLD.id WHEN 7 THEN 'query_canceled' ELSE 'too_many_connections' END"
    await own_users.owner.execute(trigger(body, "BEFORE UPDATE ON users FOR EACH ROW WHEN (OLD.id IN (7, 8))"))
    failed = FailedRows(own_users.owner, own_users.table)
    assert [reset async for reset in failed.reset_all(RowFilter(), asyncio.Event())] == [18]
    assert await own_users.keys("batch_status = 'failed'") == [7, 8]
