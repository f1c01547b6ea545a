"""The plans that the speed rests on, with fresh, with stale and with no statistics, for known and unknown values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from keda_jobs.claims import statements
from keda_jobs.claims.statements import BY_KEYS, BY_RANGE, Statements

from .rig import Rig

_ROWS = 300_000
_KEYS = "'{" + ",".join(str(key) for key in range(1, 2501)) + "}'"


class Node(NamedTuple):
    """A step of a plan."""

    kind: str
    relation: str | None
    by: str | None
    condition: str


def nodes(plan: dict[str, Any]) -> Iterator[Node]:
    yield Node(plan["Node Type"], plan.get("Relation Name"), plan.get("Index Name"), plan.get("Index Cond", ""))
    for part in plan.get("Plans", ()):
        yield from nodes(part)


@pytest.fixture(params=["stale", "none", "fresh"])
async def filled(request: pytest.FixtureRequest, own_users: Rig) -> Rig:
    """Users of whom the planner knows nothing, that there were none, or what is true."""
    owner = own_users.owner
    for table in ("users", "users_queue", "batch_jobs"):
        await owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    if request.param == "stale":
        await owner.execute("ANALYZE")
    await owner.execute(f"INSERT INTO users (name) SELECT 'Ada' FROM generate_series(1, {_ROWS})")
    if request.param == "fresh":
        await owner.execute("ANALYZE")
    await (await own_users.worker()).claim(20_000)
    return own_users


async def plan(rig: Rig, how: str, settings: Mapping[str, str], statement: str, values: str = "") -> list[Node]:
    """The plan of `statement`, a custom or a generic one, with the settings that it runs under."""
    async with rig.owner.transaction():
        await rig.owner.execute(statements.SET_LOCAL, list(settings), list(settings.values()))
        await rig.owner.execute(f"SET LOCAL plan_cache_mode = force_{how}_plan")
        await rig.owner.execute(f"PREPARE planned AS {statement}")
        explained = await rig.owner.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned {values}")
        await rig.owner.execute("DEALLOCATE planned")
    return list(nodes(json.loads(explained)[0]["Plan"]))


def of_table(found: list[Node], table: str) -> list[Node]:
    return [node for node in found if node.relation == table and "Scan" in node.kind]


async def test_every_statement_has_its_one_good_plan(filled: Rig) -> None:
    # Where a step that is forbidden prices a plan beyond all measure, PostgreSQL would compile it.
    assert BY_KEYS["jit"] == BY_RANGE["jit"] == "off"
    for how in ("custom", "generic"):
        await check_plans(filled, how)


async def check_plans(filled: Rig, how: str) -> None:
    types = dict.fromkeys(filled.table.writes, "text")
    sql = Statements(filled.table, types)

    for statement, values in ((sql.claim, "(1)"), (sql.give_back, "(1, false, 1)"), (sql.only_row, "(1)")):
        found = await plan(filled, how, BY_RANGE, statement, values)
        [scan] = of_table(found, "users")
        assert (scan.kind, scan.by) == ("Index Scan", "users_pkey")
        assert "held.lo" in scan.condition
        assert "held.hi" in scan.condition
        assert {node.by for node in of_table(found, "users_queue")} == {"users_queue_held"}
        assert "Seq Scan" not in {node.kind for node in found}

    arrays = ", ".join(["'{a}'"] * len(types))
    found = await plan(filled, how, BY_KEYS, sql.complete, f"(1, {_KEYS}, {arrays})")
    [scan] = of_table(found, "users")
    assert (scan.kind, scan.by) == ("Index Scan", "users_pkey")
    assert "= ANY" in scan.condition
    assert {"Hash Join"} == {node.kind for node in found if "Join" in node.kind or "Loop" in node.kind}

    found = await plan(filled, how, BY_KEYS, sql.fail, f"(1, {_KEYS}, '{{a}}', '{{1}}')")
    [scan] = of_table(found, "users")
    assert (scan.kind, scan.by) == ("Index Scan", "users_pkey")
    assert "= ANY" in scan.condition
    assert "Hash Join" in {node.kind for node in found}

    found = await plan(filled, how, BY_RANGE, sql.split_key, "(1, 20000, 'pending', now(), NULL, 500)")
    assert [(node.kind, node.by) for node in of_table(found, "users")] == [("Index Scan", "users_pkey")]
    assert "Sort" not in {node.kind for node in found}

    found = await plan(filled, how, BY_RANGE, sql.waiting)
    assert [(node.kind, node.by) for node in of_table(found, "users_queue")] == [("Index Scan", "users_queue_next")]
    assert "Sort" not in {node.kind for node in found}

    found = await plan(filled, how, BY_RANGE, sql.take_expired_batch)
    assert {node.by for node in of_table(found, "batch_jobs")} == {"batch_jobs_running"}

    found = await plan(filled, how, {}, sql.claimable)
    assert {node.relation for node in found if node.relation} == {"users_queue", "batch_jobs"}
