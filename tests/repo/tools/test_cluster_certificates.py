"""Certificates of an environment: made once, renewed when due, and never before clients know the authority."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from cluster import certificates, connect
from cluster.certificates import Server, make, missing
from cluster.errors import ClusterError
from environments import load
from stack import Authority

from .fake_cluster import FakeCluster

NATS = Server("nats", "nats-tls", ("DNS:nats.nats.svc", "IP:127.0.0.1"))
BOTH = ["jobs", "nats"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the authority in a folder of the test."""
    monkeypatch.setattr(certificates, "folder", lambda: tmp_path / "prod")
    return tmp_path / "prod"


def certificate(cluster: FakeCluster) -> str:
    return base64.b64decode(cluster.secrets["nats", "nats-tls"]["data"]["tls.crt"]).decode()


def authorities(cluster: FakeCluster) -> list[str]:
    return [cluster.configs[namespace, "ca"]["data"]["ca.crt"] for namespace in BOTH]


def test_they_are_made_once_and_the_key_of_the_authority_stays_here(cluster: FakeCluster, folder: Path) -> None:
    assert missing([NATS]) == ["Secret nats-tls in nats"]
    assert list(make([NATS], BOTH))[-1] == "certificates: nats-tls"
    ca = (folder / "ca.crt").read_text()
    assert authorities(cluster) == [ca, ca]
    assert Authority(folder).has_issued(certificate(cluster))
    assert cluster.secrets["nats", "nats-tls"]["data"].keys() == {"tls.crt", "tls.key", "ca.crt"}
    key = (folder / "ca.key").read_text()
    assert base64.b64encode(key.encode()).decode() not in str(cluster.secrets)
    before = certificate(cluster)
    assert list(make([NATS], BOTH)) == ["certificates: up to date"]
    assert (certificate(cluster), missing([NATS])) == (before, [])


@pytest.mark.parametrize("change", ["other hosts", "ends soon"])
def test_one_that_is_due_is_renewed(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    if change == "ends soon":
        monkeypatch.setattr(certificates, "_DAYS", 59)
    list(make([NATS], BOTH))
    before = certificate(cluster)
    hosts = (*NATS.hosts, "DNS:more") if change == "other hosts" else NATS.hosts
    assert list(make([Server("nats", "nats-tls", hosts)], BOTH)) == ["certificates: nats-tls"]
    assert certificate(cluster) != before


def test_clients_know_a_new_authority_before_a_server_shows_its_certificate(cluster: FakeCluster, folder: Path) -> None:
    list(make([NATS], BOTH))
    before = certificate(cluster)
    for file in folder.iterdir():
        file.unlink()
    assert "Restart the jobs, and run this again" in list(make([NATS], BOTH))[-1]
    assert certificate(cluster) == before
    assert [text.count("BEGIN CERTIFICATE") for text in authorities(cluster)] == [2, 2]
    assert list(make([NATS], BOTH)) == ["certificates: nats-tls"]
    assert Authority(folder).has_issued(certificate(cluster))


def test_what_somebody_else_made_is_left_alone(cluster: FakeCluster) -> None:
    theirs = NATS.manifest({"tls.crt": "of cert-manager"})
    cluster.secrets["nats", "nats-tls"] = theirs
    assert list(make([NATS], BOTH))[-1] == "certificates: up to date"
    assert cluster.secrets["nats", "nats-tls"] == theirs


def config(name: str, data: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": load("prod").jobs_namespace}
    return {"kind": "ConfigMap", "metadata": metadata, "data": data}


def test_a_command_on_a_laptop_trusts_what_pods_trust(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(connect, "_nats", lambda _: {"NATS_URL": "nats://127.0.0.1:4222"})
    (tmp_path / ".env").write_text("PG_DSN=postgresql://o:p@db.example/app?sslmode=verify-full\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / ".env"))
    with connect.connected() as environment:
        assert environment.keys() == {"NATS_URL", "PG_DSN"}
    cluster.others.append(config("trust", {"NATS_TLS_CA": "/in/the/pod", "PGSSLROOTCERT": "/in/the/pod"}))
    with pytest.raises(ClusterError, match=r"has no authorities, see docs/tls\.md"), connect.connected():
        pass
    cluster.others.append(config("ca", {"ca.crt": "the authority\n"}))
    with connect.connected() as environment:
        file = Path(environment["NATS_TLS_CA"])
        assert file.read_text() == "the authority\n"
        assert environment["PG_DSN"].endswith(f"?sslmode=verify-full&sslrootcert={file}")
    assert not file.exists()
