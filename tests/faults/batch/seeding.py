"""Users to process, some of them invalid: from the seed tool, or with known invalid ones."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

from users_batch.job import JOB

from .queue_view import QueueView

# Of thirty, one has no name and one has no e-mail.
_USERS = """
INSERT INTO users (id, name, email)
SELECT
  id, CASE id % 30 WHEN 15 THEN ' ' ELSE 'First' || id % 997 || '  Last' || id % 1009 END,
  CASE id % 30 WHEN 0 THEN 'nobody' ELSE 'First.Last' || id || '@Example' || id % 50 || '.com' END
FROM generate_series($1::bigint, $2::bigint) AS id"""
_MISJUDGED = "SELECT count(*) FROM users WHERE (batch_status = 'failed') <> (id % 15 = 0)"


async def seed_by_tool(queue: QueueView, rows: int, folder: Path) -> int:
    """Fill an empty database by the seed tool, and return the number of invalid users."""
    command = [
        str(Path(sys.executable).with_name("users-batch-seed")),
        "all",
        "--rows",
        str(rows),
        "--out",
        str(folder),
    ]
    environment = {**os.environ, **queue.server.environment()}
    told = await asyncio.to_thread(subprocess.check_output, [*command, "--json"], env=environment, text=True)
    await queue.connect()
    return int(json.loads(told)["import"]["invalid"])


async def seed(queue: QueueView, rows: int) -> None:
    """Fill an empty database with users, every fifteenth of them invalid."""
    await queue.make(JOB.table)
    await insert(queue, 1, rows)
    await queue.owner.execute("ANALYZE users")
    # Recovery after a crash starts from here.
    await queue.owner.execute("CHECKPOINT")


async def insert(queue: QueueView, first: int, last: int) -> None:
    """Insert the users with keys from `first` to `last`."""
    await queue.owner.execute(_USERS, first, last)


async def count_misjudged(queue: QueueView) -> int:
    """Count valid users of `seed` that failed, and invalid ones that did not."""
    return int(await queue.owner.fetchval(_MISJUDGED))
