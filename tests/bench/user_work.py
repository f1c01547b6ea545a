"""Work of a general job queue on one user: the handler of users-batch between one SELECT and one UPDATE."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg

from keda_jobs.batch import BatchContext
from keda_jobs.runtime.cpu import CpuPool
from users_batch.errors import InvalidUser
from users_batch.handler import User, normalize
from users_batch.settings import Settings

_CONNECTIONS = 10

_READ = "SELECT name, email FROM users WHERE id = $1"
_COMPLETE = """
UPDATE users SET batch_status = 'completed', attempts = attempts + 1,
  normalized_name = $2, normalized_email = $3, email_domain = $4, country = $5
WHERE id = $1"""
_FAIL = "UPDATE users SET batch_status = 'failed', attempts = attempts + 1, error = $2 WHERE id = $1"


@asynccontextmanager
async def user_work(dsn: str) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Yield the work of one worker, behind a pool of connections with prepared statements."""
    context = BatchContext(Settings.model_validate({"pg_dsn": dsn}), CpuPool(), None)
    async with asyncpg.create_pool(dsn, min_size=_CONNECTIONS, max_size=_CONNECTIONS, reset=_skip_reset) as pool:

        async def work(user_id: int) -> None:
            async with pool.acquire() as connection:
                row = await connection.fetchrow(_READ, user_id)
                if row is None:
                    raise LookupError(f"no user {user_id}")
                # The job of an invalid user also succeeds, which costs least.
                try:
                    profile = await normalize(User(*row), context)
                except InvalidUser as error:
                    await connection.execute(_FAIL, user_id, str(error))
                else:
                    await connection.execute(_COMPLETE, user_id, *profile)

        yield work


async def _skip_reset(_connection: object) -> None:
    """Replace asyncpg's RESET after each use, which would cost every job a round trip."""
