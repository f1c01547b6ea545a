"""Images at work on the local stack: a picture passes both event jobs, and the batch job works off a table of users."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import nats
import pytest
from pydantic import SecretStr

from keda_jobs.errors import StoreUnavailable
from keda_jobs.runtime.metrics import JobRegistry, StoreMetrics
from keda_jobs.settings import StoreSettings
from keda_jobs.storage import S3Bucket
from stack import NatsServer, PostgresServer, S3Server, free_port, until, wait_until
from stack.ports import HOST
from stack.schema import apply_schemas
from stack.servers import ACCESS_KEY, SECRET_KEY, http_status

from .containers import Running

Start = Callable[..., Running]
ROWS = 1000
USERS = (
    "INSERT INTO users (name, email) SELECT 'Ada Lovelace', n || '@example.com' FROM generate_series(1, $1::int) AS n"
)


@pytest.fixture
def pictures(start: Start, servers_image: str) -> str:
    """Start the picture server of test clusters and return its address and port."""
    port = free_port()
    start(servers_image, {}, "python", "/app/pictures.py", str(port))
    wait_until(lambda: http_status(f"http://{HOST}:{port}/healthz") == 200)
    return f"{HOST}:{port}"


def stored(s3_server: S3Server, prefix: str) -> list[Path]:
    """Return the complete objects under `prefix`. The server writes incomplete ones under another name."""
    return [
        path for path in (s3_server.bucket_folder / prefix).glob("*") if re.fullmatch(r"[0-9a-f]{64}\.png", path.name)
    ]


async def test_one_event_goes_through_both_jobs(
    start: Start,
    pictures: str,
    nats_server: NatsServer,
    s3_server: S3Server,
    declare: Callable[..., Awaitable[None]],
    stack_environment: dict[str, str],
) -> None:
    await declare()
    environment = {**stack_environment, "DOWNLOAD_ALLOW_ADDRESSES": pictures}
    jobs = [start(f"{job}:dev", environment) for job in ("image-download", "image-resize")]
    for running in jobs:
        running.wait_for("/readyz")
    client = await nats.connect(nats_server.url)
    event = json.dumps({"url": f"http://{pictures}/picture/1.png"}).encode()
    await client.jetstream().publish("image-download", event)
    await until(lambda: stored(s3_server, "images_resized"))
    await client.close()
    assert [path.name for path in stored(s3_server, "images")] == [
        path.name for path in stored(s3_server, "images_resized")
    ]
    assert [running.stop() for running in jobs] == [0, 0]


async def test_users_are_worked_off_and_the_worker_stops(
    start: Start, postgres_server: PostgresServer, database: str
) -> None:
    await apply_schemas(postgres_server.dsn_of(database))
    owner = await asyncpg.connect(postgres_server.dsn_of(database))
    await owner.execute(USERS, ROWS)
    worker = start("users-batch:dev", {"PG_DSN": postgres_server.dsn_of(database, "users_worker")})
    assert worker.exit_code() == 0, worker.log()
    counts = await owner.fetch("SELECT batch_status, normalized_name, count(*) FROM users GROUP BY 1, 2")
    await owner.close()
    assert [tuple(record) for record in counts] == [("completed", "Ada Lovelace", ROWS)]


async def test_the_s3_server_of_test_clusters_keeps_objects_and_refuses_strangers(
    start: Start, servers_image: str
) -> None:
    port = free_port()
    # Quoted, because rclone reads the variable as a list.
    environment = {"RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{SECRET_KEY}"', "RCLONE_CACHE_DIR": "/tmp/cache"}
    serve = f"mkdir -p /tmp/s3/bucket && exec rclone serve s3 /tmp/s3 --addr {HOST}:{port}"
    start(servers_image, environment, "sh", "-c", serve)
    await until(lambda: http_status(f"http://{HOST}:{port}"))
    await put_and_get(bucket(port, SECRET_KEY))
    with pytest.raises(StoreUnavailable, match="refuses the credentials"):
        await put_and_get(bucket(port, "another-secret"))


def bucket(port: int, secret: str) -> S3Bucket:
    settings = StoreSettings(
        r2_endpoint_url=f"http://{HOST}:{port}",
        r2_access_key_id=ACCESS_KEY,
        r2_secret_access_key=SecretStr(secret),
        r2_bucket="bucket",
    )
    return S3Bucket(settings, connections=1, metrics=StoreMetrics(JobRegistry("tested")))


async def put_and_get(store: S3Bucket) -> None:
    async with store:
        await store.put("images/1", b"one", content_type="text/plain")
        assert await store.get("images/1") == b"one"
