"""Every job has the same shape, and its table agrees with its `JOB`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

import asyncpg
import pytest

from keda_jobs.batch import BatchJob
from keda_jobs.claims import ClaimQueue, roles, schema
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import Pool
from keda_jobs.runtime.job import Job
from stack import PostgresServer, all_jobs, jobs_of
from stack.jobs import ROOT, package_name

FILES = ("job.toml", "pyproject.toml", "requirements.txt", "README.md")
MODULES = ("__init__", "__main__", "settings", "job")

EACH_JOB = pytest.mark.parametrize("job", all_jobs(), ids=lambda job: job.name)
EACH_BATCH_JOB = pytest.mark.parametrize("job", jobs_of(BatchJob), ids=lambda job: job.name)


def test_every_folder_with_sources_declares_a_job() -> None:
    assert [job.name for job in all_jobs()] == sorted(path.parent.name for path in ROOT.glob("jobs/*/src"))


@EACH_JOB
def test_the_folder_is_complete(job: Job) -> None:
    folder = ROOT / "jobs" / job.name
    modules = [f"src/{package_name(job.name)}/{module}.py" for module in MODULES]
    assert [path for path in (*FILES, *modules) if not (folder / path).is_file()] == []
    assert list((folder / "tests").rglob("test_*.py"))


@EACH_BATCH_JOB
def test_migrations_are_numbered_from_one_without_a_gap(job: BatchJob) -> None:
    names = sorted(file.name for file in (resources.files(package_name(job.name)) / "migrations").iterdir())
    assert [name for name in names if not re.fullmatch(r"[0-9]{4}_[a-z0-9_]+\.sql", name)] == []
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


@EACH_BATCH_JOB
async def test_the_migrated_table_has_the_columns_of_the_handler_and_the_worker_has_its_rights_on_them(
    job: BatchJob, postgres_server: PostgresServer, database: str
) -> None:
    table = job.table
    async with asyncpg.create_pool(postgres_server.dsn_of(database), min_size=0) as pool, pool.acquire() as owner:
        await schema.apply(owner, table, resources.files(package_name(job.name)) / "migrations")
    worker = postgres_server.dsn_of(database, roles.worker_role(table))
    async with asyncpg.create_pool(worker, min_size=0) as pool:
        queue = await ClaimQueue.bind(pool, table, pod_name="test", lease_s=60, call_s=60, policy=RetryPolicy())
        assert await queue.claimable() == 0
        assert await without_right(pool, "SELECT", table.name, table.reads) == []
        assert await without_right(pool, "UPDATE", table.name, table.writes) == []


async def without_right(pool: Pool, right: str, table: str, columns: Sequence[str]) -> list[str]:
    """List the columns on which the connected role lacks a right."""
    found = await pool.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE NOT has_column_privilege($2, name, $3)",
        columns,
        table,
        right,
    )
    return [record["name"] for record in found]
