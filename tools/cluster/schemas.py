"""Tables, queues and roles of every batch job, applied to the database at PG_DSN.

Stdin is the Secret `postgres` with the passwords of the roles.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from cluster.database import roles
from cluster.errors import ClusterError, run
from cluster.kubernetes import secret_of_stdin
from keda_jobs.errors import JobError
from keda_jobs.postgres import open_connection
from keda_jobs.settings import PgSettings, load_settings
from stack.schema import apply_each


async def apply_all(settings: PgSettings, passwords: Mapping[str, str]) -> dict[str, list[str]]:
    """Apply the schemas and return the migrations that were applied, by batch job. Raises `JobError`."""
    async with open_connection(settings, name="keda-jobs-setup") as connection:
        return await apply_each(connection, passwords)


def _main() -> int:
    passwords = secret_of_stdin()
    if missing := [role for role in roles() if role not in passwords]:
        raise ClusterError(f"the Secret postgres has no {', '.join(missing)}; run: make -C k8s secrets")
    try:
        applied = asyncio.run(apply_all(load_settings(PgSettings), passwords))
    except JobError as error:
        raise ClusterError(str(error)) from error
    for job, migrations in applied.items():
        print(f"{job}: {', '.join(migrations) or 'up to date'}")
    return 0


if __name__ == "__main__":
    sys.exit(run("schemas", _main))
