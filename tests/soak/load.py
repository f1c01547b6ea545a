"""Mixed load: pictures of which some fail, users of which some are invalid, and scrapes of all metrics.

What NATS keeps has to stay the same, or its memory grows with it. So events are kept for minutes instead of days, dead
letters are purged as often, and an event is large enough to fill a file of a stream (8 MB) every minute.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import aiohttp
import asyncpg
from faults.batch.queue_view import SCALER_QUERY
from faults.origin import Answer, Origin
from PIL import Image

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.subjects import DEAD_LETTER, STREAM
from keda_jobs.jetstream.api import request
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.declaration import read_declaration
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import BatchWorker, LocalStack
from stack.jobs import ROOT
from stack.postgres import DATABASE

PICTURES_A_SECOND, USERS_A_SECOND = 8, 200

_DISTINCT = 200
_PADDING = "x" * 16_000
_SCRAPE_S, _SCALER_S = 15, 5
# Retries come after 5 s, so some of them fail again and some do not.
RETRY_STEP_S = "5"
_AWAY_S = 7

_INSERT = """
INSERT INTO users (name, email)
SELECT 'First Last', CASE id % 15 WHEN 0 THEN 'nobody' ELSE 'first.last' || id || '@example.com' END
FROM generate_series(1, $1::int) AS id"""


async def run_load(stack: LocalStack, origin: Origin, folder: Path, kept_s: int) -> None:
    """Run all parts of the load until it is cancelled, or until one of them fails. Events are kept for `kept_s`."""
    async with asyncio.TaskGroup() as group:
        group.create_task(_bound_stream(stack, kept_s))
        group.create_task(_publish_pictures(stack, origin))
        group.create_task(_fail_at_times(origin))
        group.create_task(_insert_users(stack))
        group.create_task(_start_workers(stack, folder))
        group.create_task(_scrape(stack))


def serve_pictures(origin: Origin) -> None:
    """Let the origin answer with distinct pictures, and with a page that is none."""
    for number in range(_DISTINCT):
        file = BytesIO()
        Image.effect_noise((400 + number, 300), 60).save(file, "JPEG")
        origin.answers[f"/{number}.jpg"] = Answer(file.getvalue())
    origin.answers["/page.jpg"] = Answer(b"<!doctype html><title>Not a picture</title>")


async def _bound_stream(stack: LocalStack, kept_s: int) -> None:
    """Let the stream of events drop what is older, and purge the dead letters as often."""
    declaration = read_declaration(ROOT / "jobs")
    short = {"max_age": kept_s * 10**9}
    streams = [{**each, **short} if each["name"] == STREAM else each for each in declaration.streams]
    settings = NatsSettings.model_construct(nats_url=stack.nats.url)
    async with connect(settings, name="soak-bounds", wait=True) as connection:
        await apply(connection, replace(declaration, streams=tuple(streams)), allow_loss=True)
        while True:
            await asyncio.sleep(kept_s)
            await request(connection, f"STREAM.PURGE.{STREAM}", {"filter": DEAD_LETTER})


async def _publish_pictures(stack: LocalStack, origin: Origin) -> None:
    """Publish pictures. Of twenty, one is missing, one is no picture and one is sometimes unavailable."""
    settings = NatsSettings.model_construct(nats_url=stack.nats.url)
    special = {0: "/missing.jpg", 1: "/page.jpg", 2: "/sometimes.jpg"}
    async with connect(settings, name="soak", wait=True) as connection:
        for number in itertools.count():
            url = origin.url(special.get(number % 20, f"/{number % _DISTINCT}.jpg"))
            event = json.dumps({"url": url, "padding": _PADDING}).encode()
            await publish(connection, Outgoing("image-download", event, f"soak-{number}", {}))
            await asyncio.sleep(1 / PICTURES_A_SECOND)


async def _fail_at_times(origin: Origin) -> None:
    while True:
        for answer in (Answer(status=503), origin.answers["/0.jpg"]):
            origin.answers["/sometimes.jpg"] = answer
            await asyncio.sleep(_AWAY_S)
            origin.asked.clear()


async def _insert_users(stack: LocalStack) -> None:
    connection = await asyncpg.connect(stack.postgres.dsn)
    try:
        while True:
            await connection.execute(_INSERT, USERS_A_SECOND)
            await asyncio.sleep(1)
    finally:
        connection.terminate()


async def _start_workers(stack: LocalStack, folder: Path) -> None:
    """Start a batch worker whenever rows are claimable and none runs. Raises `StackError` when one has failed."""
    connection = await asyncpg.connect(stack.postgres.dsn_of(DATABASE, "users_scaler"))
    environment = {"PG_DSN": stack.postgres.dsn_of(DATABASE, "users_worker")}
    worker = BatchWorker("users-batch", environment, folder / "users-batch.log", "soak")
    try:
        while True:
            if worker.exit_code is not None:
                worker.raise_if_exited()
            if not worker.alive and await connection.fetchval(SCALER_QUERY):
                await asyncio.to_thread(worker.launch)
            await asyncio.sleep(_SCALER_S)
    finally:
        connection.terminate()
        worker.kill()


async def _scrape(stack: LocalStack) -> None:
    async with aiohttp.ClientSession() as session:
        while True:
            for job in stack.jobs:
                async with session.get(f"{job.http_url}/metrics") as response:
                    await response.read()
            await asyncio.sleep(_SCRAPE_S)
