"""Rows that a worker, a trigger or a restore does not see are refused at the start, or stay queued."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from keda_jobs.claims import SettledRows, schema
from keda_jobs.claims.failed_rows import FailedRows, RowFilter
from keda_jobs.claims.table import ClaimTable
from keda_jobs.errors import Misconfigured

from .conftest import write_migrations
from .example_tables import USERS
from .harness import QueueHarness

_POLICY = "CREATE POLICY part ON users TO users_worker USING (id > 5)"
_ENABLE = "ALTER TABLE users ENABLE ROW LEVEL SECURITY"


@pytest.mark.parametrize("policy", [_ENABLE, f"{_POLICY}; {_ENABLE}", "ALTER TABLE users FORCE ROW LEVEL SECURITY"])
async def test_a_table_whose_rows_are_hidden_is_refused_at_the_start(own_users: QueueHarness, policy: str) -> None:
    await own_users.owner.execute(policy)
    with pytest.raises(
        Misconfigured, match="row-level security may hide rows of users from users_worker; do not force"
    ):
        await own_users.worker()


async def test_a_role_that_bypasses_row_security_is_not_refused(own_users: QueueHarness) -> None:
    await own_users.owner.execute(f"{_ENABLE}; ALTER ROLE users_worker BYPASSRLS")
    try:
        await own_users.insert(range(1, 11))
        assert await own_users.drain(await own_users.worker()) == 10
    finally:
        await own_users.owner.execute("ALTER ROLE users_worker NOBYPASSRLS")


@pytest.mark.parametrize("policy", [_ENABLE, f"{_POLICY}; {_ENABLE}"])
async def test_rows_that_are_hidden_while_a_worker_runs_stay_queued(own_users: QueueHarness, policy: str) -> None:
    await own_users.insert(range(1, 21))
    worker = await own_users.worker()
    batch = await worker.claim(5)
    assert batch is not None
    await own_users.owner.execute(policy)
    for call in (
        worker.claim(5),
        worker.settle(batch, own_users.results(batch.rows), []),
        worker.close(batch),
    ):
        with pytest.raises(Misconfigured, match="row-level security"):
            await call
    await own_users.expire_leases()
    with pytest.raises(Misconfigured):
        await worker.recover()
    assert await own_users.claimable() == await own_users.recount() == 20
    await own_users.owner.execute("ALTER TABLE users DISABLE ROW LEVEL SECURITY")
    assert await worker.recover() == 5
    assert await own_users.drain(worker) == 20


async def test_failed_rows_that_are_hidden_are_not_taken_for_none(own_users: QueueHarness) -> None:
    await own_users.owner.execute(_ENABLE)
    failed = FailedRows(await own_users.connect("users_worker"), own_users.table)
    with pytest.raises(Misconfigured, match="row-level security"):
        await failed.count(RowFilter())


async def skip_updates(queue: QueueHarness, when: str) -> None:
    """Let a trigger of the application skip updates without an error."""
    await queue.owner.execute(f"""
CREATE FUNCTION skip() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER skip BEFORE UPDATE ON users FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION skip()""")


@pytest.mark.parametrize("skipped", [range(1, 21), range(7, 8), range(15, 21)], ids=["all", "one", "the last"])
async def test_rows_whose_claim_a_trigger_skips_stay_queued(
    own_users: QueueHarness, skipped: range, caplog: pytest.LogCaptureFixture
) -> None:
    await own_users.insert(range(1, 21))
    await skip_updates(own_users, f"OLD.id BETWEEN {skipped[0]} AND {skipped[-1]}")
    worker = await own_users.worker()
    with caplog.at_level(logging.WARNING):
        assert await own_users.drain(worker) == 20 - len(skipped)
    assert f"{len(skipped)} rows are set aside: PostgreSQL refused a row: a trigger of the table skips" in caplog.text
    assert await own_users.claimable() == 0
    await own_users.owner.execute(
        "UPDATE keda_jobs.users_queue SET held_back_until = now() WHERE held_back_until > now()"
    )
    assert await own_users.claimable() == await own_users.recount() == len(skipped)
    await own_users.owner.execute("DROP TRIGGER skip ON users")
    assert await own_users.drain(worker) == len(skipped)


async def test_a_row_whose_completion_a_trigger_skips_fails(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 6))
    worker = await own_users.worker()
    batch = await worker.claim(5)
    assert batch is not None
    await skip_updates(own_users, "NEW.batch_status = 'completed' AND OLD.id = 3")
    assert await worker.settle(batch, own_users.results(batch.rows), []) == SettledRows(completed=4, failed=1)
    [(key, error)] = await own_users.rows("id, error", "batch_status = 'failed'")
    assert (key, error) == (3, "ValuesRefused: a trigger of the table skips its update")


async def test_a_change_by_hand_that_a_trigger_alters_is_queued_as_it_is(own_users: QueueHarness) -> None:
    await own_users.insert(range(1, 11))
    await own_users.owner.execute("""
CREATE FUNCTION alter_time() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.next_attempt_at := '2020-01-01';
  RETURN CASE WHEN OLD.next_attempt_at > '2021-01-01' THEN NEW END;
END $$;
CREATE TRIGGER alter_time BEFORE UPDATE OF next_attempt_at ON users FOR EACH ROW EXECUTE FUNCTION alter_time()""")
    await own_users.owner.execute("UPDATE users SET next_attempt_at = '2030-01-01' WHERE id > 3")
    assert await own_users.claimable() == await own_users.recount() == 10
    await own_users.owner.execute("DROP TRIGGER alter_time ON users")
    assert await own_users.drain(await own_users.worker()) == 10


@pytest.mark.parametrize(
    ("change", "claimable"),
    [
        ("INSERT INTO users (id) VALUES (11)", 11),
        ("UPDATE users SET next_attempt_at = '2030-01-01' WHERE id > 7", 7),
        ("DELETE FROM users WHERE id > 7", 7),
        ("TRUNCATE users", 0),
    ],
)
async def test_changes_in_replica_mode_are_queued(own_users: QueueHarness, change: str, claimable: int) -> None:
    await own_users.insert(range(1, 11))
    await own_users.owner.execute(f"SET session_replication_role = replica; {change}")
    assert await own_users.claimable() == await own_users.recount() == claimable


@pytest.mark.parametrize("trigger", ClaimTable("users-batch", "users").triggers)
@pytest.mark.parametrize("off", ["DISABLE", "ENABLE REPLICA"])
async def test_a_table_whose_triggers_are_off_is_refused_at_the_start(
    own_users: QueueHarness, trigger: str, off: str
) -> None:
    await own_users.owner.execute(f"ALTER TABLE users {off} TRIGGER {trigger}")
    with pytest.raises(Misconfigured, match=f"rows of users may be missing in its queue.*: {trigger}; ALTER TABLE"):
        await own_users.worker()
    await own_users.owner.execute(f"ALTER TABLE users ENABLE TRIGGER {trigger}")
    await own_users.worker()


async def test_a_subscribed_table_is_refused_at_the_start(own_users: QueueHarness) -> None:
    # A real one would need a second server.
    await own_users.owner.execute("""
CREATE SUBSCRIPTION copies CONNECTION 'dbname=nowhere' PUBLICATION users WITH (connect = false);
INSERT INTO pg_subscription_rel SELECT oid, 'users'::regclass, 'r', NULL FROM pg_subscription WHERE subname = 'copies'
""")
    try:
        with pytest.raises(Misconfigured, match="users is filled by logical replication, which queues no rows; drop"):
            await own_users.worker()
    finally:
        await own_users.owner.execute("ALTER SUBSCRIPTION copies SET (slot_name = NONE)")
        await own_users.owner.execute("DROP SUBSCRIPTION copies")


async def test_applying_the_schema_makes_triggers_fire_always_again(own_users: QueueHarness, tmp_path: Path) -> None:
    states = f"SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgname = ANY('{{{','.join(own_users.table.triggers)}}}')"
    await own_users.owner.execute("ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL")
    folder = write_migrations(USERS, tmp_path / "migrations")
    assert await schema.apply(own_users.owner, USERS.table, folder) == []
    assert [row[0] for row in await own_users.owner.fetch(states)] == [b"A"]
    await own_users.owner.execute("ALTER TABLE users DISABLE TRIGGER users_note_change")
    await schema.apply(own_users.owner, USERS.table, folder)
    assert {row[0] for row in await own_users.owner.fetch(states)} == {b"A", b"D"}
