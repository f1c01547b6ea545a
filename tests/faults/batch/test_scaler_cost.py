"""Cost of the scaler's query: it reads ranges and open batches, and never the users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from users_batch.job import JOB

from .queue_view import SCALER_QUERY, QueueView

# The ranges of 50 million waiting users, and the batches of as many processed ones.
RANGES = 2_500
# 8 KB each; measured: 43 to 54 as loaded, 199 as the claims leave them.
MOST_BUFFERS = 400

_RANGES = """
INSERT INTO keda_jobs.users_queue (lo, hi, claimable, next_attempt_at)
SELECT number * 20000 + 1, (number + 1) * 20000, 20000, now() FROM generate_series(0, $1::bigint - 1) AS number"""
_BATCHES = """
INSERT INTO keda_jobs.batch_jobs (batch_name, pod_name, claimed, lease_expires_at)
SELECT 'users-batch', 'users-batch-x7k2p', 20000, now() + interval '1 min' FROM generate_series(1, $1::int)"""
# Claims of nearly all ranges, without a vacuum in between.
_CLAIMS = """
UPDATE keda_jobs.users_queue SET batch_id = range_id WHERE range_id > 5;
DELETE FROM keda_jobs.users_queue WHERE batch_id IS NOT NULL;
UPDATE keda_jobs.batch_jobs SET completed = completed + 10000, heartbeat_at = now();
UPDATE keda_jobs.batch_jobs SET completed = completed + 10000, heartbeat_at = now();
UPDATE keda_jobs.batch_jobs SET status = 'completed', finished_at = now()"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the node and all nodes below it."""
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


async def explained(queue: QueueView) -> dict[str, Any]:
    """Run the query as the scaler's role, and return its plan and its reads."""
    text = await queue.scaler.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {SCALER_QUERY}")
    plan: dict[str, Any] = json.loads(text)[0]["Plan"]
    return plan


async def check_cost(queue: QueueView) -> None:
    plan = await explained(queue)
    relations = {node["Relation Name"] for node in nodes(plan) if "Relation Name" in node}
    assert relations == {"users_queue", "users_queue_holds", "batch_jobs"}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= MOST_BUFFERS


async def test_it_reads_no_user_and_few_pages_of_the_ranges_of_50_million(shared_queue: QueueView) -> None:
    await shared_queue.make(JOB.table)
    await shared_queue.owner.execute(_RANGES, RANGES)
    assert await shared_queue.claimable() == RANGES * 20_000
    await check_cost(shared_queue)
    await shared_queue.owner.execute("ANALYZE keda_jobs.users_queue, keda_jobs.batch_jobs")
    await check_cost(shared_queue)


async def test_it_stays_as_cheap_once_nearly_all_of_50_million_are_done(shared_queue: QueueView) -> None:
    await shared_queue.make(JOB.table)
    await shared_queue.owner.execute(_RANGES, RANGES)
    await shared_queue.owner.execute(_BATCHES, RANGES)
    await shared_queue.owner.execute(_CLAIMS)
    await check_cost(shared_queue)
    assert await shared_queue.claimable() == 5 * 20_000


@pytest.mark.parametrize("users", [100, 20_000])
async def test_its_cost_does_not_grow_with_the_users(shared_queue: QueueView, users: int) -> None:
    await shared_queue.make(JOB.table)
    await shared_queue.owner.execute("INSERT INTO users (name) SELECT 'x' FROM generate_series(1, $1::int)", users)
    assert await shared_queue.claimable() == users
    plan = await explained(shared_queue)
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= 10
