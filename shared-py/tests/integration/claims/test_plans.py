"""Query plans that the speed depends on, with fresh, stale and no statistics, for known and unknown values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from keda_jobs.claims import statements
from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, Statements
from keda_jobs.claims.values import ColumnType

from .harness import QueueHarness

_ROWS = 300_000
_KEYS = "'{" + ",".join(str(key) for key in range(1, 2501)) + "}'"


class Node(NamedTuple):
    """Step of a plan."""

    kind: str
    relation: str | None
    by: str | None
    condition: str


def nodes(plan: dict[str, Any]) -> Iterator[Node]:
    yield Node(plan["Node Type"], plan.get("Relation Name"), plan.get("Index Name"), plan.get("Index Cond", ""))
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.fixture(params=["stale", "none", "fresh"])
async def filled(request: pytest.FixtureRequest, own_users: QueueHarness) -> QueueHarness:
    """Yield a filled table with stale, no or fresh statistics."""
    owner = own_users.owner
    for table in ("users", "keda_jobs.users_queue", "keda_jobs.batch_jobs"):
        await owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    if request.param == "stale":
        await owner.execute("ANALYZE")
    await owner.execute(f"INSERT INTO users (name) SELECT 'Ada' FROM generate_series(1, {_ROWS})")
    if request.param == "fresh":
        await owner.execute("ANALYZE")
    await (await own_users.worker()).claim(20_000)
    return own_users


async def plan(
    queue: QueueHarness, how: str, settings: Mapping[str, str], statement: str, values: str = ""
) -> list[Node]:
    """Return the custom or generic plan of `statement` under its settings."""
    async with queue.owner.transaction():
        await queue.owner.execute(statements.SET_LOCAL, list(settings), list(settings.values()))
        await queue.owner.execute(f"SET LOCAL plan_cache_mode = force_{how}_plan")
        await queue.owner.execute(f"PREPARE planned AS {statement}")
        explained = await queue.owner.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned {values}")
        await queue.owner.execute("DEALLOCATE planned")
    return list(nodes(json.loads(explained)[0]["Plan"]))


def scans_of(found: list[Node], table: str) -> list[Node]:
    return [node for node in found if node.relation == table and "Scan" in node.kind]


async def test_every_statement_has_its_one_good_plan(filled: QueueHarness) -> None:
    # The huge cost of a disabled step would make PostgreSQL compile the plan.
    assert BY_KEYS["jit"] == BY_RANGE["jit"] == "off"
    for how in ("custom", "generic"):
        await check_plans(filled, how)


async def check_plans(filled: QueueHarness, how: str) -> None:
    types = dict.fromkeys(filled.table.writes, ColumnType("text"))
    sql = Statements(filled.table, types)

    for statement, values in (
        (sql.claim, "(1)"),
        (sql.waiting_rows, "(1)"),
        (sql.give_back, "(1, true, NULL)"),
        (sql.claimed_rows, "(1)"),
    ):
        found = await plan(filled, how, BY_RANGE, statement, values)
        [scan] = scans_of(found, "users")
        assert (scan.kind, scan.by) == ("Index Scan", "users_pkey")
        assert re.fullmatch(r"\(\(id >= .*lo\)+ AND \(id <= .*hi\)+", scan.condition)
        assert {node.by for node in scans_of(found, "users_queue")} - {"users_queue_set_aside"} == {"users_queue_held"}
        assert "Seq Scan" not in {node.kind for node in found}

    arrays = ", ".join(["'{a}'"] * len(types))
    found = await plan(filled, how, BY_KEYS, sql.results.complete, f"(1, {_KEYS}, '{{7}}', {arrays})")
    [scan] = scans_of(found, "users")
    assert (scan.kind, scan.by) == ("Index Scan", "users_pkey")
    assert "= ANY" in scan.condition
    assert {"Hash Join"} == {node.kind for node in found if "Join" in node.kind or "Loop" in node.kind}

    found = await plan(filled, how, BY_KEYS, sql.results.fail, f"(1, {_KEYS}, '{{7}}', '{{a}}', '{{1}}')")
    [scan] = scans_of(found, "users")
    assert (scan.kind, scan.by) == ("Index Scan", "users_pkey")
    assert "= ANY" in scan.condition
    assert "Hash Join" in {node.kind for node in found}

    found = await plan(filled, how, BY_KEYS, sql.results.unwritten, f"(1, {_KEYS}, '{{7}}')")
    assert [(node.kind, node.by) for node in scans_of(found, "users")] == [("Index Scan", "users_pkey")]

    found = await plan(filled, how, BY_RANGE, sql.ranges.recount_overlapping, "(1)")
    assert {node.by for node in scans_of(found, "users_queue")} == {"users_queue_held", "users_queue_next"}

    found = await plan(filled, how, BY_RANGE, sql.ranges.split_key, "(1, 500)")
    assert [(node.kind, node.by) for node in scans_of(found, "users")] == [("Index Scan", "users_pkey")]
    assert "Sort" not in {node.kind for node in found}

    found = await plan(filled, how, BY_RANGE, sql.ranges.waiting)
    assert [(node.kind, node.by) for node in scans_of(found, "users_queue")] == [("Index Scan", "users_queue_next")]
    assert "Sort" not in {node.kind for node in found}

    found = await plan(filled, how, BY_RANGE, sql.take_expired_batch)
    assert {node.by for node in scans_of(found, "batch_jobs")} == {"batch_jobs_running"}

    found = await plan(filled, how, {}, sql.ranges.claimable)
    assert {node.relation for node in found if node.relation} == {"users_queue", "users_queue_holds", "batch_jobs"}
