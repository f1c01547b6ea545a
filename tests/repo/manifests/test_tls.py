"""An environment with TLS: its manifests agree, and real servers with its configuration refuse strangers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import new_env
from cluster.certificates import servers
from stack import Authority, free_port
from stack.jobs import ROOT
from stack.ports import HOST
from stack.servers import binary
from stack.waiting import wait_until

from .rendered import COPY, SOURCES, Object, PodTemplate, Source, of_kind, pods
from .test_nats_config import Configured, logins_config, mounted, password
from .test_pods import RULES

COMPONENTS = ("nats-cluster", "nats-tls", "postgres-ca", "store-ca", "test-servers-tls")
CLIENTS = [one for one in SOURCES if one.path.name in ("bootstrap", "backup") or one.path.parent.name == "jobs"]
AUTHORITIES = "/etc/keda-jobs/ca"


@pytest.fixture(scope="session")
def objects() -> list[Object]:
    """Render an environment with everything on."""
    folder = new_env.make("encrypted", "test", COPY)
    overlay = folder / "kustomization.yaml"
    lines = "".join(f"  - ../../components/{name}\n" for name in COMPONENTS)
    overlay.write_text(overlay.read_text().replace("components:\n", f"components:\n{lines}"))
    return Source(folder, COPY).objects


@pytest.fixture(scope="session")
def config(objects: list[Object]) -> dict[str, str]:
    """Return the configuration of NATS there."""
    [found] = [one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "nats-config"]
    data: dict[str, str] = found["data"]
    return data


def test_its_pods_keep_every_rule(objects: list[Object]) -> None:
    assert [f"{pod}: {fault}" for pod in pods(objects) for rule in RULES for fault in rule(pod)] == []


def test_every_client_is_told_of_private_authorities_by_the_component(objects: list[Object]) -> None:
    trust = [one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == "trust"]
    assert {one["metadata"]["namespace"] for one in trust} == {"keda-jobs-encrypted", "nats-encrypted"}
    names = ("NATS_TLS_CA", "PGSSLROOTCERT", "AWS_CA_BUNDLE")
    assert [one["data"] for one in trust] == [dict.fromkeys(names, f"{AUTHORITIES}/ca.crt")] * 2


@pytest.mark.parametrize("source", CLIENTS, ids=lambda source: source.name)
def test_every_client_reads_what_it_is_told(source: Source) -> None:
    for pod in pods(source.objects):
        assert {"name": "ca", "configMap": {"name": "ca", "optional": True}} in pod.volumes
        for container in pod.containers:
            assert {"configMapRef": {"name": "trust", "optional": True}} in container["envFrom"]
            assert {"name": "ca", "mountPath": AUTHORITIES, "readOnly": True} in container["volumeMounts"]


def test_each_server_has_a_certificate_for_the_names_that_are_used(objects: list[Object]) -> None:
    hosts = {one.secret: set(one.hosts) for one in servers(objects)}
    assert hosts.keys() == {"nats-tls", "postgres-tls", "s3-tls"}
    ends = {"DNS:localhost", "IP:127.0.0.1"}
    assert hosts["nats-tls"] >= ends | {"DNS:nats.nats-encrypted.svc.cluster.local", "DNS:nats.nats-encrypted.svc"}
    assert hosts["s3-tls"] >= ends | {"DNS:s3.keda-jobs-encrypted-test.svc"}
    assert hosts["postgres-tls"] >= ends | {"DNS:postgres.keda-jobs-encrypted-test.svc"}
    routes = re.findall(r"@nats-\d\.([\w-]+):", logins_config()["routes.conf"])
    assert {f"DNS:*.{name}" for name in routes} <= hosts["nats-tls"]


def test_the_server_is_signalled_by_the_number_that_it_writes(objects: list[Object], config: dict[str, str]) -> None:
    [pod] = [pod for pod in pods(objects) if pod.labels["app"] == "nats"]
    server = container(pod, "nats")
    file = server["command"][server["command"].index("--pid") + 1]
    assert server["lifecycle"]["preStop"]["exec"]["command"] == ["nats-server", "--signal", f"ldm={file}"]
    assert f"reload={file}" in config["reloader.sh"]
    assert pod.spec["shareProcessNamespace"]


def container(pod: PodTemplate, name: str) -> Object:
    [found] = [one for one in pod.containers if one["name"] == name]
    return found


class Encrypted(Configured):
    """Server of that environment, one of `ports`, with its files below `folder`."""

    def __init__(self, folder: Path, config: dict[str, str], logins: dict[str, str], ports: list[int], of: int) -> None:
        self._tls, self._pid, self._name = folder / "tls", folder / "nats.pid", f"nats-{of}"
        self._tls.mkdir(parents=True)
        routes = logins["routes.conf"]
        for number, port in enumerate(ports):
            routes = routes.replace(f"nats-{number}.nats-headless:6222", f"{HOST}:{port}")
        texts = {
            name: text.replace("/etc/nats", str(folder)).replace("/data", str(folder)).replace("6222", str(ports[of]))
            for name, text in config.items()
        }
        super().__init__(folder / "server", mounted(folder, texts, {**logins, "routes.conf": routes}))
        self.reloader = folder / "config/reloader.sh"

    def show(self, authority: Authority, days: int = 2) -> None:
        """Let it show a certificate from now on."""
        made = authority.issue("tls", f"IP:{HOST}", days=days, folder=self._tls)
        (self._tls / "ca.crt").write_bytes(authority.ca.read_bytes())
        assert made.certificate == self._tls / "tls.crt"

    def command(self) -> list[str]:
        return [*super().command(), "--pid", str(self._pid)]

    def process_environment(self) -> dict[str, str]:
        return {**super().process_environment(), "POD_NAME": self._name}

    def routes(self) -> int:
        """Return how many servers it has routes to, none before it answers."""
        try:
            with urllib.request.urlopen(f"{self.monitor_url}/routez") as answer:
                return len({route["remote_id"] for route in json.load(answer).get("routes", ())})
        except OSError:
            return 0


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make the authority of the servers."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def logins() -> dict[str, str]:
    """Make the logins of the servers."""
    return logins_config()


@contextmanager
def running(servers: list[Encrypted]) -> Iterator[None]:
    """Start the servers together, since the first is ready only with the others, and stop them."""
    try:
        for server in servers:
            server.launch()
        yield
    finally:
        for server in servers:
            server.kill()


@pytest.mark.slow
def test_servers_have_routes_to_those_of_their_authority_only(
    config: dict[str, str], logins: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    ports = [free_port() for _ in range(3)]
    every = [Encrypted(tmp_path / str(n), config, logins, ports, n) for n in range(3)]
    for server, issuer in zip(every, (authority, authority, Authority(tmp_path / "stranger")), strict=True):
        server.show(issuer)
    with running(every):
        wait_until(lambda: [one.routes() for one in every[:2]] == [1, 1], 300)
        wait_until(lambda: "TLS route handshake error" in every[2].log.read_text(), 300)
        assert every[2].routes() == 0
        every[2].show(authority)
        with reloading(every[2]):
            wait_until(lambda: [one.routes() for one in every] == [2, 2, 2], 300)


@contextmanager
def reloading(server: Encrypted) -> Iterator[None]:
    """Run the sidecar beside the server, as if the last certificate came after its start."""
    path = f"{Path(binary('nats-server')).parent}:{os.environ['PATH']}"
    text = server.reloader.read_text().replace("read_last=$(digest)", "read_last=old", 1)
    server.reloader.write_text(text)
    with subprocess.Popen(["sh", str(server.reloader)], env={"PATH": path, "EVERY_S": "0.1"}) as sidecar:
        yield
        sidecar.kill()


def test_a_renewed_certificate_is_shown_without_a_restart_and_without_it_nobody_logs_in(
    config: dict[str, str], logins: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    single = {**config, "servers.conf": (ROOT / "k8s/nats/config/servers.conf").read_text()}
    server = Encrypted(tmp_path / "0", single, logins, [free_port()], 0)
    server.show(authority, days=-1)
    with running([server]):
        server.wait_until_it_answers()
        assert "certificate has expired" in refused(server, logins, NATS_TLS_CA=str(authority.ca))
        server.show(authority)
        with reloading(server):
            wait_until(lambda: "Reloaded server configuration" in server.log.read_text(), 300)
        ended = command(server, logins, NATS_TLS_CA=str(authority.ca))
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "certificate verify failed" in refused(server, logins)


def refused(server: Encrypted, logins: dict[str, str], **trust: str) -> str:
    """Run a command that cannot connect and return its one line."""
    ended = command(server, logins, **trust)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    return line


def command(server: Encrypted, logins: dict[str, str], **trust: str) -> subprocess.CompletedProcess[str]:
    """Compare the streams as the admin."""
    login = {"NATS_USER": "admin", "NATS_PASSWORD": password(logins["auth.conf"], "admin")}
    line = [sys.executable, "-m", "keda_jobs.cli", "streams", "apply", "--dry-run"]
    environment = {**os.environ, **login, **trust, "NATS_URL": server.url}
    return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
