"""Bootstrap on real servers: users, streams and tables of all jobs, and a second run that changes nothing."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

import environments
from cluster import bootstrap, connect, setup_record
from cluster.errors import ClusterError
from cluster.roles import roles
from cluster.schemas import apply_all
from keda_jobs.batch import BatchJob
from keda_jobs.event.job import EventJob
from keda_jobs.jetstream.connection import connect as connect_to_nats
from keda_jobs.settings import NatsSettings, PgSettings
from stack import NatsServer, PostgresServer
from stack.jobs import jobs_of

from .fake_cluster import FakeCluster

JOBS, NATS = environments.load("prod").jobs_namespace, environments.load("prod").nats_namespace


def login(cluster: FakeCluster, namespace: str, name: str) -> dict[str, str]:
    data = cluster.secrets[namespace, name]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


@pytest.fixture
def nats_server(cluster: FakeCluster, tmp_path: Path) -> Iterator[NatsServer]:
    """Return a server, not yet started, that gets the file of its users like a pod does."""

    def mount(applied: dict[str, Any]) -> None:
        if applied["metadata"]["name"] == "nats-auth":
            (tmp_path / "auth.conf").write_bytes(base64.b64decode(applied["data"]["auth.conf"]))

    cluster.on_apply = mount
    server = NatsServer(tmp_path, extra="include auth.conf")
    yield server
    server.kill()


@pytest.fixture
def dsn(postgres_server: PostgresServer, database: str) -> str:
    return postgres_server.dsn_of(database)


@pytest.fixture
def reached(
    cluster: FakeCluster, nats_server: NatsServer, dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Put the servers in place of those of a cluster."""

    @contextmanager
    def connected() -> Iterator[dict[str, str]]:
        yield {**login(cluster, NATS, "nats-admin"), "NATS_URL": nats_server.url, "PG_DSN": dsn}

    monkeypatch.setattr(connect, "connected", connected)
    # Pods reach the database by another name than this machine.
    (tmp_path / ".env").write_text("PG_DSN=postgresql://owner:hidden@db.example.com:5432/app?sslmode=require\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))


async def may_log_in(server: NatsServer, found: dict[str, str]) -> None:
    settings = NatsSettings(nats_url=server.url, nats_user=found["NATS_USER"], nats_password=found["NATS_PASSWORD"])
    async with connect_to_nats(settings, name="probe", wait=False):
        pass


async def each_logs_in(dsn: str, passwords: dict[str, str]) -> None:
    address = urlsplit(dsn)
    for role, password in passwords.items():
        connection = await asyncpg.connect(
            host=address.hostname, port=address.port, user=role, password=password, database=address.path[1:], ssl=False
        )
        await connection.close()


@pytest.mark.usefixtures("reached")
def test_an_empty_cluster_gets_all_that_jobs_need_and_a_second_run_changes_nothing(
    cluster: FakeCluster,
    nats_server: NatsServer,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def start_when_it_has_users(applied: dict[str, Any]) -> None:
        mount(applied)
        if applied["metadata"]["name"] == "nats-auth" and not nats_server.alive:
            nats_server.start()

    mount, cluster.on_apply = cluster.on_apply, start_when_it_has_users
    monkeypatch.setattr("sys.argv", ["bootstrap", "--skipped", "platform"])
    assert bootstrap.main() == 0
    output = capsys.readouterr().out
    assert "bootstrap: secrets: postgres, postgres-operator\n" in output
    for job in ("image-download", "image-resize", "exporter"):
        asyncio.run(may_log_in(nats_server, login(cluster, JOBS, f"nats-{job}")))
    passwords = login(cluster, JOBS, "postgres")
    asyncio.run(each_logs_in(dsn, {role: passwords[role] for role in roles()}))
    [record] = cluster.others
    assert record["data"] == setup_record.record() | {"platform": "skipped"}

    before = copy.deepcopy(cluster.secrets)
    assert bootstrap.main() == 0
    assert cluster.secrets == before
    assert "database: users-batch: up to date\n" in capsys.readouterr().out


def test_the_database_of_another_environment_is_refused(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PgSettings(pg_dsn=SecretStr(dsn))
    passwords = dict.fromkeys(roles(), "p")
    assert apply_all(settings, passwords)["users-batch"]
    assert apply_all(settings, passwords)["users-batch"] == []
    staging = dataclasses.replace(environments.load("prod"), environment="staging")
    monkeypatch.setattr(environments, "current", lambda: staging)
    with pytest.raises(ClusterError, match=r"^PG_DSN names the database of the environment prod; give .* IS NULL$"):
        apply_all(settings, passwords)


@pytest.mark.usefixtures("reached")
def test_without_a_database_it_is_left_out_and_recorded_so(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("")
    monkeypatch.delenv("PG_DSN", raising=False)
    monkeypatch.setattr(bootstrap, "set_up_nats", lambda _: None)
    monkeypatch.setattr("sys.argv", ["bootstrap"])
    assert bootstrap.main() == 0
    [record] = cluster.others
    assert record["data"]["database"] == "skipped"


def test_the_secret_of_a_deleted_job_is_named_and_kept(
    cluster: FakeCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.make_nats_users()
    gone = json.loads(json.dumps(cluster.secrets[JOBS, "nats-image-resize"]).replace("image-resize", "gone"))
    cluster.secrets[JOBS, "nats-gone"] = gone
    bootstrap.make_nats_users()
    assert f"no job uses this Secret: kubectl delete secret -n {JOBS} nats-gone\n" in capsys.readouterr().out
    assert cluster.secrets[JOBS, "nats-gone"] == gone


def test_the_password_that_somebody_else_made_is_taken(cluster: FakeCluster) -> None:
    password = base64.b64encode(b"p" * 32).decode()
    theirs = {
        "kind": "Secret",
        "metadata": {"name": "nats-image-resize", "namespace": JOBS},
        "data": {"NATS_USER": base64.b64encode(b"image-resize").decode(), "NATS_PASSWORD": password},
    }
    cluster.secrets[JOBS, "nats-image-resize"] = theirs
    bootstrap.make_nats_users()
    assert cluster.secrets[JOBS, "nats-image-resize"] == theirs
    assert "p" * 32 in login(cluster, NATS, "nats-auth")["auth.conf"]


def test_users_that_somebody_else_wrote_are_one_line_with_the_way_out(cluster: FakeCluster) -> None:
    bootstrap.make_nats_users()
    auth = cluster.secrets[NATS, "nats-auth"]
    auth["data"]["auth.conf"] = base64.b64encode(b"authorization {}").decode()
    del auth["metadata"]["labels"]
    with pytest.raises(ClusterError, match=r"^the users in nats-auth cannot be changed, to hand it over"):
        bootstrap.make_nats_users()


def test_a_server_that_never_answers_is_one_line() -> None:
    def refuse() -> None:
        raise connect.Unreachable("no pod is ready")

    with pytest.raises(ClusterError, match=r"^NATS: not within 0 s: no pod is ready$"):
        bootstrap.Waiting("NATS", deadline_s=0).until_it_answers(refuse)


@pytest.mark.parametrize(
    ("variables", "is_in"),
    [
        ({}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBECONFIG": "/of/another/cluster"}, False),
    ],
)
def test_a_pod_reaches_services_by_name(variables: dict[str, str], *, is_in: bool, monkeypatch: Any) -> None:
    for name in ("KUBERNETES_SERVICE_HOST", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert connect.is_in_cluster() == is_in
    if is_in:
        with connect.reached("nats", "nats", 4222) as address:
            assert address == ("nats.nats.svc", 4222)


_USERS = """
accounts {
  SHOP {
    jetstream: enabled
    users: [
      { user: owner, password: o }
      { user: reader, password: r, permissions: {
          publish: ["$JS.API.STREAM.INFO.*", "$JS.API.CONSUMER.LIST.*", "$JS.API.DIRECT.GET.keda-jobs-delayed"],
          subscribe: "_INBOX_reader.>" } }
    ]
  }
}
"""


def test_a_nats_of_yours_gets_streams_where_the_login_may_and_is_compared_where_not(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = NatsServer(tmp_path / "yours", extra=_USERS)
    server.start()
    put_in_place(server, monkeypatch, tmp_path)
    env_file = tmp_path / ".env"
    try:
        with pytest.raises(ClusterError, match=r"no login at your NATS: .* Secrets .*nats-image-download"):
            bootstrap.set_up_nats_of_yours()
        assert "image-resize may publish $JS.API.CONSUMER.MSG.NEXT.keda-jobs-events" in capsys.readouterr().out
        make_logins(cluster)
        env_file.write_text("NATS_USER=reader\nNATS_PASSWORD=r\n")
        with pytest.raises(ClusterError, match="streams and consumers are not as declared"):
            bootstrap.set_up_nats_of_yours()
        env_file.write_text("NATS_USER=owner\nNATS_PASSWORD=o\n")
        bootstrap.set_up_nats_of_yours()
        env_file.write_text("NATS_USER=reader\nNATS_PASSWORD=r\n")
        bootstrap.set_up_nats_of_yours()
    finally:
        server.kill()


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("url", "reached_at"),
    [
        ("nats://shop-nats.shop.svc.cluster.local:4222", "nats://127.0.0.1:5555"),
        ("tls://a:b@shop-nats.shop.svc", "tls://a:b@127.0.0.1:5555"),
        ("shop-nats.shop.svc:4222,nats://nats.example:4222", "nats://127.0.0.1:5555,nats://nats.example:4222"),
    ],
)
def test_a_nats_of_yours_in_the_cluster_is_reached_from_a_laptop(
    url: str, reached_at: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forwarded: list[tuple[str, str, int]] = []

    @contextmanager
    def forward(namespace: str, service: str, port: int) -> Iterator[int]:
        forwarded.append((namespace, service, port))
        yield 5555

    yours = dataclasses.replace(environments.load("prod"), nats_namespace="", nats_url=url)
    monkeypatch.setattr(environments, "current", lambda: yours)
    monkeypatch.setattr(connect, "forwarded", forward)
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    with connect.connected() as found:
        assert found["NATS_URL"] == reached_at
    assert forwarded == [("shop", "shop-nats", 4222)]


def put_in_place(server: NatsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let the environment have this server as a NATS of its owner's, with the login in `.env`."""
    yours = dataclasses.replace(environments.load("prod"), nats_namespace="", nats_url=server.url)
    monkeypatch.setattr(environments, "current", lambda: yours)
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))


def make_logins(cluster: FakeCluster) -> None:
    senders = (job.name for job in jobs_of(BatchJob) if job.outputs.events)
    for name in ("exporter", *(job.name for job in jobs_of(EventJob)), *senders):
        cluster.secrets[JOBS, f"nats-{name}"] = {"metadata": {"namespace": JOBS, "name": f"nats-{name}"}}


def test_streams_of_an_earlier_setup_that_are_gone_are_not_made_empty(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server = NatsServer(tmp_path / "nats")
    put_in_place(server, monkeypatch, tmp_path)
    (tmp_path / ".env").write_text("")
    make_logins(cluster)
    server.start()
    try:
        bootstrap.set_up_nats_of_yours()
        bootstrap.record(set())
        bootstrap.set_up_nats_of_yours()

        server.stop()
        shutil.rmtree(tmp_path / "nats/nats")
        server.start()
        with pytest.raises(ClusterError, match=r"an earlier setup made one\. Restore a backup, or begin with empty"):
            bootstrap.set_up_nats_of_yours()
        assert not bootstrap.has_events({"NATS_URL": server.url})
    finally:
        server.kill()
