"""Every batch job has the same shape, and its migrations make the table that its handler reads and writes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import asyncpg
import pytest

from keda_jobs.claims import ClaimQueue, schema
from keda_jobs.domain.policy import RetryPolicy
from keda_jobs.postgres import Pool
from stack import PostgresServer, batch_jobs, event_jobs, services
from stack.jobs import ROOT

from .batch_jobs import BATCH_JOBS, BatchJobFolder

EACH_JOB = pytest.mark.parametrize("folder", BATCH_JOBS, ids=lambda folder: folder.name)
FILES = ("Dockerfile", "pyproject.toml", "requirements.txt", "README.md")
MODULES = ("__init__", "__main__", "settings", "handler", "job")


def test_every_job_folder_is_an_event_job_a_batch_job_or_a_service() -> None:
    folders = {path.name for path in (ROOT / "jobs").iterdir() if (path / "src").is_dir()}
    found = [*event_jobs(), *(folder.name for folder in BATCH_JOBS), *services()]
    assert sorted(found) == sorted(folders)


def test_the_local_stack_finds_the_same_batch_jobs() -> None:
    assert batch_jobs() == [folder.name for folder in BATCH_JOBS]


@EACH_JOB
def test_the_folder_has_what_every_batch_job_has(folder: BatchJobFolder) -> None:
    modules = [f"src/{folder.package}/{module}.py" for module in MODULES]
    missing = [path for path in (*FILES, *modules) if not (folder.folder / path).is_file()]
    assert missing == []
    assert list((folder.folder / "tests").glob("test_*.py"))


@EACH_JOB
def test_job_image_and_manifest_have_the_folders_name(folder: BatchJobFolder) -> None:
    assert folder.job.name == folder.name
    assert folder.job.settings is folder.settings


@EACH_JOB
def test_migrations_are_numbered_from_one_without_a_gap(folder: BatchJobFolder) -> None:
    names = sorted(file.name for file in folder.migrations.iterdir())
    assert [name for name in names if not re.fullmatch(r"[0-9]{4}_[a-z0-9_]+\.sql", name)] == []
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


@EACH_JOB
async def test_the_migrated_table_has_the_columns_of_the_handler_and_the_worker_has_its_rights_on_them(
    folder: BatchJobFolder, postgres_server: PostgresServer, database: str
) -> None:
    table = folder.job.table
    async with asyncpg.create_pool(postgres_server.dsn_of(database), min_size=0) as pool, pool.acquire() as owner:
        await schema.apply(owner, table, folder.migrations)
    worker = postgres_server.dsn_of(database, schema.worker_role(table))
    async with asyncpg.create_pool(worker, min_size=0) as pool:
        queue = await ClaimQueue.bind(pool, table, pod_name="test", lease_s=60, policy=RetryPolicy())
        assert await queue.claimable() == 0
        assert await without_right(pool, "SELECT", table.name, table.reads) == []
        assert await without_right(pool, "UPDATE", table.name, table.writes) == []


async def without_right(pool: Pool, right: str, table: str, columns: Sequence[str]) -> list[str]:
    found = await pool.fetch(
        "SELECT name FROM unnest($1::text[]) AS name WHERE NOT has_column_privilege($2, name, $3)",
        columns,
        table,
        right,
    )
    return [record["name"] for record in found]
