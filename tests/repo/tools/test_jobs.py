"""Jobs as their packages declare them, and as local processes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from cluster.errors import run
from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from keda_jobs.runtime.job import Service
from stack import BatchWorker, JobProcess, PostgresServer, StackError, all_jobs, job_names
from stack.schema import apply_schemas

StartJob = Callable[..., JobProcess]
Declare = Callable[..., Awaitable[None]]


def declare_job(package: Path, declaration: str) -> None:
    (package / "job.py").write_text(
        f"from keda_jobs import ProcessSettings, service\n\nasync def serve(process): ...\n\n{declaration}\n"
    )


def test_a_folder_whose_package_declares_a_job_is_a_job(new_package: Path, tmp_path: Path) -> None:
    assert all_jobs(tmp_path) == []
    declare_job(new_package, "JOB = service(serve, ProcessSettings)")
    assert [(job.name, job.kind) for job in all_jobs(tmp_path)] == [("new-here", "service")]


def test_jobs_are_listed_by_kind() -> None:
    assert {"image-download", "image-resize"} <= set(job_names(EventJob))
    assert "users-batch" in job_names(BatchJob)
    assert "exporter" in job_names(Service)
    assert job_names() == sorted(job.name for job in all_jobs())


@pytest.mark.parametrize(
    ("declaration", "reason"),
    [
        ("", "cannot be loaded"),
        ("JOB = service(none, Settings)", "cannot be loaded"),
        ("import a_package_that_does_not_exist", r"cannot be loaded \(No module named .*\); run `make setup`"),
        ("JOB = 'new-here'", "is 'new-here', not a job called new-here"),
        (
            "serve.__module__ = 'keda_jobs'\nJOB = service(serve, ProcessSettings)",
            "is Service.*, not a job called new-here",
        ),
    ],
)
def test_a_package_without_its_job_is_one_line(
    new_package: Path, tmp_path: Path, declaration: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    declare_job(new_package, declaration)
    assert run("secrets", lambda: len(all_jobs(tmp_path))) == 1
    assert re.fullmatch(rf"secrets: new-here: new_here\.job\.JOB {reason}.*\n", capsys.readouterr().err)


def test_a_job_ignores_variables_that_name_the_users_own_servers(
    stack_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NATS_CREDS", "/home/someone/production.creds")
    monkeypatch.setenv("R2_ACCOUNT_ID", "production")
    monkeypatch.setenv("PG_DSN", "postgresql://production")
    monkeypatch.setenv("PGSSLMODE", "require")
    monkeypatch.setenv("CONCURRENCY", "3")
    seen = JobProcess("image-resize", stack_environment, tmp_path / "log").process_environment()
    assert "NATS_CREDS" not in seen
    assert "R2_ACCOUNT_ID" not in seen
    assert "PG_DSN" not in seen
    assert "PGSSLMODE" not in seen
    assert seen["CONCURRENCY"] == "3"
    assert stack_environment.items() <= seen.items()


def test_a_job_with_a_wrong_setting_is_one_line_that_names_it(start_job: StartJob) -> None:
    with pytest.raises(StackError, match=r"^image-resize exited with 2: CONCURRENCY: .* \(log: .*\)$"):
        start_job("image-resize", CONCURRENCY="0")


@pytest.fixture
def worker(postgres_server: PostgresServer, database: str, tmp_path: Path) -> Iterator[BatchWorker]:
    """Yield a worker of users-batch on an empty database, not started."""
    environment = {"PG_DSN": postgres_server.dsn_of(database), "SHUTDOWN_GRACE_S": "0"}
    worker = BatchWorker("users-batch", environment, tmp_path / "worker.log", "worker-1")
    yield worker
    worker.kill()


async def insert_users(dsn: str, count: int) -> asyncpg.Connection[asyncpg.Record]:
    """Make the tables, insert pending users, and return a connection to the database."""
    await apply_schemas(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO users (name, email) SELECT 'Ann', 'ann@example.org' FROM generate_series(1, $1::int)", count
    )
    return connection


async def test_a_batch_worker_that_fails_is_one_line_that_says_why(worker: BatchWorker) -> None:
    with pytest.raises(StackError, match=r"^users-batch exited with 2: .*apply the job's schema first \(log: .*\)$"):
        await asyncio.to_thread(worker.start)
    assert not worker.is_done


async def test_the_tables_of_the_batch_jobs_are_created_once(postgres_server: PostgresServer, database: str) -> None:
    connection = await insert_users(postgres_server.dsn_of(database), 3)
    await apply_schemas(postgres_server.dsn_of(database))
    assert await connection.fetchval("SELECT rows FROM keda_jobs.users_claimable") == 3
    await connection.close()


async def test_tables_of_another_version_are_one_line(postgres_server: PostgresServer, database: str) -> None:
    connection = await insert_users(postgres_server.dsn_of(database), 0)
    await connection.execute("UPDATE keda_jobs.batch_migrations SET sha256 = 'of another file'")
    with pytest.raises(StackError, match=r"^PostgreSQL: .*0004_\w+\.sql .*number$"):
        await apply_schemas(postgres_server.dsn_of(database))
    await connection.close()
