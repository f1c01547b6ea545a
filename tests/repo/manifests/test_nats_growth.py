"""One NATS server becomes three, with the configuration of the pods: never by accident, and with everything it held."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.identity import Identity
from keda_jobs.domain.message import Message
from keda_jobs.domain.retry import scheduled_retry
from keda_jobs.domain.subjects import RETRY_STREAM
from keda_jobs.errors import BrokerUnavailable
from keda_jobs.jetstream.api import StreamMissing, durable_consumers, stream_info
from keda_jobs.jetstream.connection import NatsConnection, connect
from keda_jobs.jetstream.declaration import read_declaration
from keda_jobs.jetstream.publish import publish
from keda_jobs.jetstream.reader import read_page
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack import free_port, until
from stack.jobs import ROOT
from stack.ports import HOST
from stack.servers import binary

from .test_nats_config import CLUSTER, SINGLE, Configured, config_map, logins_config, mounted, password

pytestmark = pytest.mark.slow

JOB = "image-download"
EVENTS, DEAD_LETTERS, RETRIES = 500, 7, 20
HELD = {JOB: EVENTS, "dead-letter": DEAD_LETTERS, "retry.wait.>": RETRIES, "lag": EVENTS}


class Server(Configured):
    """Pod `nats-<number>`, with its volume in a folder."""

    def __init__(self, folder: Path, number: int, texts: Mapping[str, str], logins: Mapping[str, str]) -> None:
        self.volume = folder / f"data-nats-{number}"
        inside = {name: text.replace("store_dir: /data", f"store_dir: {self.volume}") for name, text in texts.items()}
        super().__init__(folder / f"nats-{number}", mounted(folder / f"nats-{number}/etc", inside, logins))
        self._name = f"nats-{number}"
        self._admin = password(logins["auth.conf"], "admin")

    def process_environment(self) -> Mapping[str, str]:
        return os.environ | {"POD_NAME": self._name}

    def environment(self) -> dict[str, str]:
        return super().environment() | {"NATS_USER": "admin", "NATS_PASSWORD": self._admin}


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Server]:
    """Start the only server."""
    server = Server(tmp_path, 0, config_map(SINGLE), logins_config())
    server.start()
    yield server
    server.kill()


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Server]]:
    """Return three servers, not started. The first has the volume of the only one."""
    logins, ports = logins_config(), [free_port() for _ in range(3)]
    for number, port in enumerate(ports):
        logins["routes.conf"] = logins["routes.conf"].replace(f"nats-{number}.nats-headless:6222", f"{HOST}:{port}")
    servers = []
    for number, port in enumerate(ports):
        texts = config_map(CLUSTER)
        texts["servers.conf"] = texts["servers.conf"].replace("port: 6222", f'listen: "{HOST}:{port}"')
        servers.append(Server(tmp_path / "three", number, texts, logins))
    (tmp_path / "three").mkdir(exist_ok=True)
    servers[0].volume.symlink_to(tmp_path / "data-nats-0")
    yield servers
    for server in servers:
        server.kill()


async def start(servers: list[Server]) -> None:
    for server in servers:
        server.launch()
    for server in servers:
        await asyncio.to_thread(server.wait_until_it_answers)


async def keda_jobs(server: Server, arguments: str) -> str:
    """Run the CLI as the admin, who is not asked."""
    done = await asyncio.to_thread(
        subprocess.run,
        [binary("keda-jobs"), *arguments.split()],
        cwd=ROOT,
        env=os.environ | server.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def connected(server: Server) -> Any:
    settings = {name.lower(): value for name, value in server.environment().items()}
    return connect(NatsSettings.model_validate(settings), name="keda-jobs-cli", wait=True)


async def fill(connection: NatsConnection) -> None:
    await asyncio.gather(*(publish(connection, Outgoing(JOB, b"{}", f"{n}")) for n in range(EVENTS)))
    never = {"Nats-TTL": "never"}
    await asyncio.gather(
        *(publish(connection, Outgoing("dead-letter", b"{}", f"dead-{n}", never)) for n in range(DEAD_LETTERS))
    )
    now = datetime.now(UTC)
    for number in range(1, RETRIES + 1):
        failed = Message(JOB, b"{}", {}, Identity.of(JOB, number, now), 1, number, now)
        await publish(connection, scheduled_retry(failed, JOB, 3600, now))


async def held(connection: NatsConnection) -> dict[str, int]:
    """Count what HELD names, nothing while the servers elect a leader."""
    with suppress(BrokerUnavailable):
        counts = {subject: (await read_page(connection, subject, 1, 1)).count for subject in (JOB, "dead-letter")}
        counts["retry.wait.>"] = (await read_page(connection, "retry.wait.>", 1, 1, RETRY_STREAM)).count
        lags = [
            one["num_pending"] + one["num_ack_pending"]
            for one in await durable_consumers(connection)
            if one["name"] == f"{JOB}-consumer"
        ]
        # The list leaves out a consumer without a leader.
        if lags:
            return counts | {"lag": lags[0]}
    return {}


async def test_nothing_of_a_single_server_is_missing_on_three(
    single: Server, three: list[Server], tmp_path: Path
) -> None:
    async with connected(single) as connection:
        await apply(connection, read_declaration(ROOT / "jobs"))
        await fill(connection)
        assert await held(connection) == HELD

    # Three servers on its volume, by accident. They have no streams, and leave its own whole.
    await asyncio.to_thread(single.stop)
    await start(three)
    async with connected(three[0]) as connection:
        with pytest.raises(StreamMissing):
            await until(lambda: stream_info_or_none(connection))
    for server in three:
        await asyncio.to_thread(server.kill)
        shutil.rmtree(server.volume / "cluster")
    await asyncio.to_thread(single.start)

    # The procedure of docs/day-two.md.
    place = tmp_path / "before-three"
    await keda_jobs(single, f"streams backup --to {place}")
    await asyncio.to_thread(single.stop)
    shutil.rmtree(single.volume)
    single.volume.mkdir()
    await start(three)
    await keda_jobs(three[0], f"streams restore --from {place} --replicas 3")
    assert "~" not in await keda_jobs(three[0], "streams apply --replicas 3")

    async with connected(three[0]) as connection:

        async def all_there() -> bool:
            return await held(connection) == HELD

        await until(all_there)
        await asyncio.to_thread(three[2].kill)
        await until(all_there)


async def stream_info_or_none(connection: NatsConnection) -> dict[str, Any] | None:
    """Ask for the events stream, None while the servers elect a leader. Raises `StreamMissing`."""
    try:
        return await stream_info(connection)
    except StreamMissing:
        raise
    except BrokerUnavailable:
        return None
