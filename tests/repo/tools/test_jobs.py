"""Jobs as local processes."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from cluster.errors import run
from keda_jobs.runtime.job import job_name
from stack import BatchWorker, JobProcess, PostgresServer, StackError, batch_jobs, event_jobs, services
from stack.jobs import handler_of, module_of
from stack.schema import apply_schemas

COMPLETED_WHEN_UNLOCKED = """
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN NEW; END';
CREATE TRIGGER wait BEFORE UPDATE ON users FOR EACH ROW WHEN (NEW.batch_status = 'completed') EXECUTE FUNCTION wait()"""

StartJob = Callable[..., JobProcess]
Declare = Callable[..., Awaitable[None]]


def test_every_folder_with_a_consumer_is_an_event_job(tmp_path: Path) -> None:
    for name in ("jobs/b/consumer.json", "jobs/a/consumer.json", "jobs/batch/service.yaml", "jobs/stream.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert event_jobs(tmp_path) == ["a", "b"]


def test_every_package_with_migrations_is_a_batch_job_and_no_event_job(tmp_path: Path) -> None:
    for name in ("jobs/b-2/src/b_2/migrations/0001_b.sql", "jobs/a/src/a/migrations/0001_a.sql", "jobs/c/src/c/job.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert batch_jobs(tmp_path) == ["a", "b-2"]
    assert event_jobs(tmp_path) == []
    assert "users-batch" in batch_jobs()


def test_services_are_the_folders_whose_package_has_a_service(tmp_path: Path) -> None:
    for name in ("jobs/b-2/src/b_2/service.py", "jobs/a/src/a/service.py", "jobs/c/src/c/job.py"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert services(tmp_path) == ["a", "b-2"]
    assert event_jobs(tmp_path) == batch_jobs(tmp_path) == []
    assert services() == ["exporter"]


@pytest.mark.parametrize("job", event_jobs())
def test_the_handler_of_a_job_is_found(job: str) -> None:
    assert job_name(handler_of(job)) == job


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "async def one(event, job): ...\nasync def two(event, job): ...",
            "async function of an event and a context; it has 2",
        ),
        (
            "async def part(event): ...\ndef plain(event, job): ...",
            "async function of an event and a context; it has 0",
        ),
        ("import a_package_that_is_not_there", "cannot be imported"),
    ],
)
def test_a_job_without_one_handler_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
) -> None:
    package = f"job_{abs(hash(text))}"
    (tmp_path / package).mkdir()
    (tmp_path / package / "handler.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(StackError, match=rf"^{package}: {package}\.handler .*{reason}"):
        handler_of(package)


def test_a_job_that_is_not_installed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def look() -> int:
        module_of("new-here", "job")
        return 0

    assert run("secrets", look) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"secrets: new-here: new_here\.job cannot be imported \(.+\); run `make setup`\n", said)


@pytest.mark.parametrize("job", event_jobs())
async def test_a_job_that_has_started_is_ready_and_ends_on_sigterm(
    declare: Declare, start_job: StartJob, job: str
) -> None:
    await declare()
    process = start_job(job)
    assert process.answers()
    process.signal(signal.SIGTERM)
    assert process.wait() == 0


def test_a_job_never_follows_the_settings_of_the_persons_own_servers(
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


def test_a_busy_port_of_a_job_is_named(stack_environment: dict[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"^image-resize: port {port} is busy"):
            JobProcess("image-resize", stack_environment, tmp_path / "log", port).launch()


@pytest.fixture
def worker(postgres_server: PostgresServer, database: str, tmp_path: Path) -> Iterator[BatchWorker]:
    """A worker of users-batch on a database of its own, not started."""
    environment = {"PG_DSN": postgres_server.dsn_of(database), "SHUTDOWN_GRACE_S": "0"}
    worker = BatchWorker("users-batch", environment, tmp_path / "worker.log", "worker-1")
    yield worker
    worker.kill()


async def insert_users(dsn: str, count: int) -> asyncpg.Connection[asyncpg.Record]:
    """A connection to the database, in whose tables so many users wait."""
    await apply_schemas(dsn)
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        "INSERT INTO users (name, email) SELECT 'Ann', 'ann@example.org' FROM generate_series(1, $1::int)", count
    )
    return connection


async def test_a_batch_worker_ends_by_itself_when_all_rows_are_done(
    postgres_server: PostgresServer, database: str, worker: BatchWorker
) -> None:
    connection = await insert_users(postgres_server.dsn_of(database), 100)
    await asyncio.to_thread(worker.start)
    assert await asyncio.to_thread(worker.wait) == 0
    assert worker.is_done
    worker.raise_if_exited()
    done = await connection.fetch("SELECT pod_name, completed FROM batch_jobs")
    await connection.close()
    assert [tuple(batch) for batch in done] == [("worker-1", 100)]


async def test_a_batch_worker_has_started_once_it_has_claimed(
    postgres_server: PostgresServer, database: str, worker: BatchWorker
) -> None:
    connection = await insert_users(postgres_server.dsn_of(database), 100)
    await connection.execute(COMPLETED_WHEN_UNLOCKED)
    await connection.execute("SELECT pg_advisory_lock(1)")
    await asyncio.to_thread(worker.start)
    assert worker.alive
    assert not worker.is_done
    assert await connection.fetchval("SELECT claimed FROM batch_jobs") == 100
    await connection.execute("SELECT pg_advisory_unlock(1)")
    assert await asyncio.to_thread(worker.wait) == 0
    await connection.close()


async def test_a_batch_worker_that_fails_is_one_line_that_says_why(worker: BatchWorker) -> None:
    with pytest.raises(StackError, match=r"^users-batch exited with 2: .*apply the job's schema first \(log: .*\)$"):
        await asyncio.to_thread(worker.start)
    assert not worker.is_done


async def test_the_tables_of_the_batch_jobs_are_made_once(postgres_server: PostgresServer, database: str) -> None:
    connection = await insert_users(postgres_server.dsn_of(database), 3)
    await apply_schemas(postgres_server.dsn_of(database))
    assert await connection.fetchval("SELECT rows FROM users_claimable") == 3
    await connection.close()


async def test_tables_that_were_made_by_another_version_are_one_line(
    postgres_server: PostgresServer, database: str
) -> None:
    connection = await insert_users(postgres_server.dsn_of(database), 0)
    await connection.execute("UPDATE batch_migrations SET sha256 = 'of another file'")
    with pytest.raises(StackError, match=r"^PostgreSQL: .*0001_\w+\.sql .*number$"):
        await apply_schemas(postgres_server.dsn_of(database))
    await connection.close()
