"""A real server accepts NATS' configuration from its ConfigMap, with the users of tools/nats_users.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client

from nats_users import users, wanted
from stack import NatsServer, free_port, until
from stack.jobs import ROOT
from stack.ports import HOST
from stack.servers import binary

from .rendered import Source, of_kind

SINGLE = ROOT / "k8s/nats"
CLUSTER = ROOT / "k8s/kustomize/components/nats-cluster"
ENVIRONMENT = {"POD_NAME": "nats-0"}


def config_map(folder: Path) -> dict[str, str]:
    """Return the data of the ConfigMap in these manifests."""
    [found] = [one for one in of_kind(Source(folder).objects, "ConfigMap") if one["metadata"]["name"] == "nats-config"]
    return dict(found["data"])


def logins_config() -> dict[str, str]:
    """Make the files of the users and of the routes, with new passwords."""
    [secret] = [secret for secret in wanted(users(), {}) if secret["metadata"]["name"] == "nats-auth"]
    return {name: base64.b64decode(text).decode() for name, text in secret["data"].items()}


def mounted(folder: Path, config: Mapping[str, str], logins: Mapping[str, str]) -> Path:
    """Write the files that a pod has in `/etc/nats`, and return the main one."""
    for place, files in {"config": config, "auth": logins}.items():
        (folder / place).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / place / name).write_text(text)
    return folder / "config/nats.conf"


class Configured(NatsServer):
    """Server with that configuration on free local ports."""

    def __init__(self, folder: Path, config: Path) -> None:
        super().__init__(folder)
        self._mounted = config

    def prepare(self) -> None:
        """Prepare nothing, as the configuration exists."""

    def command(self) -> list[str]:
        here = ["--addr", HOST, "--port", str(self.port), "--http_port", str(self.monitor_port)]
        return [binary("nats-server"), "--config", str(self._mounted), *here]

    def process_environment(self) -> Mapping[str, str]:
        return os.environ | ENVIRONMENT


@pytest.fixture
def logins() -> dict[str, str]:
    """Return the files of the users and of the routes."""
    return logins_config()


@pytest.fixture
def auth(logins: dict[str, str]) -> str:
    """Return the configuration of the users."""
    return logins["auth.conf"]


@pytest.fixture
def config(tmp_path: Path, logins: dict[str, str]) -> Path:
    """Write the configuration of a single server, with its store in a folder of the test."""
    store = f"store_dir: {tmp_path}/store"
    texts = {name: text.replace("store_dir: /data", store) for name, text in config_map(SINGLE).items()}
    return mounted(tmp_path / "etc", texts, logins)


@pytest.fixture
def server(tmp_path: Path, config: Path) -> Iterator[NatsServer]:
    """Start a single server like the pod does."""
    server = Configured(tmp_path / "server", config)
    server.start()
    yield server
    server.kill()


def password(auth: str, user: str) -> str:
    """Find the password of a user in that configuration."""
    found = re.search(rf'user: "{user}"\s+password: "(.+)"', auth)
    assert found, user
    return found[1]


@pytest.fixture
async def admin(server: NatsServer, auth: str) -> AsyncIterator[Client]:
    """Connect as the admin."""
    client = await nats.connect(server.url, user="admin", password=password(auth, "admin"))
    yield client
    await client.close()


@pytest.mark.parametrize("folder", [SINGLE, CLUSTER], ids=["single", "cluster"])
def test_the_server_accepts_the_configuration(tmp_path: Path, folder: Path) -> None:
    config = mounted(tmp_path, config_map(folder), logins_config())
    command = [binary("nats-server"), "--config", str(config), "-t"]
    tried = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stderr


def test_a_cluster_does_not_open_the_store_of_a_single_server() -> None:
    """Check for separate stores, because a server that joins a cluster deletes its own streams."""
    configs = (config_map(folder)["servers.conf"] for folder in (SINGLE, CLUSTER))
    stores = [re.findall(r"^store_dir: (\S+)$", config, re.MULTILINE) for config in configs]
    assert stores == [["/data"], ["/data/cluster"]]


def test_a_cluster_has_a_route_to_each_of_its_servers() -> None:
    [servers] = of_kind(Source(CLUSTER).objects, "StatefulSet")
    names = re.findall(r"@([\w-]+)\.([\w-]+):(\d+)", logins_config()["routes.conf"])
    wanted_names = [(f"nats-{n}", servers["spec"]["serviceName"], "6222") for n in range(servers["spec"]["replicas"])]
    assert names == wanted_names


@pytest.fixture
def routes_port(tmp_path: Path, logins: dict[str, str]) -> Iterator[int]:
    """Start one server of a cluster and return the port of its routes."""
    port = free_port()
    config = config_map(CLUSTER)
    config["servers.conf"] = config["servers.conf"].replace("6222", str(port)).replace("/data", str(tmp_path))
    config["nats.conf"] = config["nats.conf"].replace("4222", str(free_port())).replace("8222", str(free_port()))
    command = [binary("nats-server"), "--config", str(mounted(tmp_path / "etc", config, logins)), "--addr", HOST]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as server:
        yield port
        server.kill()


async def test_a_server_without_the_login_gets_no_route(routes_port: int) -> None:
    await until(lambda: is_open(routes_port))
    reader, writer = await asyncio.open_connection(HOST, routes_port)
    writer.write(b'CONNECT {"server_id": "other", "name": "other"}\r\nPING\r\n')
    assert b"Authorization Violation" in await reader.read()
    writer.close()


def test_servers_log_in_to_each_other_with_the_login_that_they_ask_for(logins: dict[str, str]) -> None:
    [asked] = re.findall(r'{ user: "(\w+)", password: "(.+)" }', logins["routes.conf"])
    assert set(re.findall(r"nats://(.+):(.+)@", logins["routes.conf"])) == {asked}


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((HOST, port)) == 0


def test_the_settings_take_effect(server: NatsServer) -> None:
    with urllib.request.urlopen(f"{server.monitor_url}/varz") as response:
        found = json.load(response)
    store = found["jetstream"]["config"]
    assert (found["server_name"], found["max_payload"]) == ("nats-0", 2**20)
    assert (store["sync_always"], store["max_storage"], store["max_memory"]) == (True, 8 * 2**30, 64 * 2**20)


async def test_a_new_user_can_log_in_after_a_reload_that_disconnects_nobody(
    server: NatsServer, config: Path, auth: str, admin: Client
) -> None:
    mounted(config.parents[1], {}, {"auth.conf": auth.replace('"publisher"', '"newcomer"')})
    server.signal(signal.SIGHUP)
    await until(lambda: "Reloaded server configuration" in server.log.read_text())
    newcomer = await nats.connect(server.url, user="newcomer", password=password(auth, "publisher"))
    await newcomer.close()
    await admin.flush()
    assert admin.stats["reconnects"] == 0


async def test_a_lame_duck_informs_its_clients_and_ends_by_itself_despite_sigterm(
    server: NatsServer, admin: Client
) -> None:
    server.signal(signal.SIGUSR2)
    await until(lambda: "Entering lame duck mode" in server.log.read_text())
    server.signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait) == 0
    assert "Closing existing clients" in server.log.read_text()
    await until(lambda: not admin.is_connected)
