"""Changes of status write no index: nearly all are HOT updates, with rows of realistic length."""

from __future__ import annotations

from keda_jobs.claims import Failure
from stack import until

from .harness import QueueHarness

_ROWS = 50_000


async def test_nearly_every_update_of_a_whole_pass_is_hot(own_users: QueueHarness) -> None:
    # The snapshot of an autovacuum keeps old row versions, and with them the room that the next version needs.
    await own_users.owner.execute("ALTER TABLE users SET (autovacuum_enabled = false)")
    await own_users.owner.execute(f"""
INSERT INTO users (name, email)
SELECT
  initcap(substr(md5(n::text), 1, 4 + n % 6)) || ' ' || initcap(substr(md5((n * 7)::text), 1, 5 + n % 8)),
  substr(md5(n::text), 1, 4 + n % 6) || '.' || substr(md5((n * 7)::text), 1, 5 + n % 8) || n || '@'
    || (ARRAY['gmail.com', 'example.co.uk', 'mail.example.de', 'university.edu'])[1 + n % 4]
FROM generate_series(1, {_ROWS}) AS n""")
    worker = await own_users.worker()
    while (batch := await worker.claim(20_000)) is not None:
        for start in range(0, len(batch.rows), 2500):
            part = batch.rows[start : start + 2500]
            good = [row for row in part if row.key % 100]
            done = [
                own_users.example.completed(row)._replace(
                    values=(row.values[0], row.values[1], row.values[1].rpartition("@")[2], "DE")
                )
                for row in good
            ]
            bad = [Failure(row.key, "InvalidUser: email: no address", None) for row in part if not row.key % 100]
            await worker.settle(batch, done, bad)
        await worker.close(batch)
    await own_users.disconnect()

    async def updates() -> int | None:
        found = await own_users.owner.fetchrow(
            "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'users'"
        )
        return found["n_tup_hot_upd"] if found and found["n_tup_upd"] == 2 * _ROWS else None

    hot = await until(updates)
    assert hot >= 0.9 * 2 * _ROWS
