"""Ports in k8s/.env that the network policies of an overlay do not open."""

from __future__ import annotations

import pytest
from tests.repo.manifests.rendered import Source

from cluster.routes import closed
from stack.jobs import ROOT

PROD = Source(ROOT / "k8s/kustomize/overlays/prod")
STORE = "R2_ENDPOINT_URL has port 9000, and no network policy opens it for pods with needs-store=true"
DATABASE = "PG_DSN has port 6432, and no network policy opens it for pods with needs-postgres=true"


@pytest.mark.parametrize(
    ("store", "database", "lines"),
    [
        ("https://s3.example", "postgresql://o:p@db.example/users?sslmode=require", []),
        ("https://s3.example:443", "postgresql://o:p@db.example:5432/users?sslmode=require", []),
        ("https://s3.example:9000", "postgresql://o:p@db.example:6432/users?sslmode=require", [DATABASE, STORE]),
        # Policies see the pods' port. That of a service is another one.
        ("http://s3.other.svc", "postgresql://o:p@pooler.other.svc.cluster.local:6432/users?sslmode=require", []),
        # The check of the file says what is wrong with these.
        ("https://s3.example:port", "postgresql://db.example:6432", []),
    ],
)
def test_a_port_that_no_policy_opens_is_named(store: str, database: str, lines: list[str]) -> None:
    assert closed(PROD.objects, {"R2_ENDPOINT_URL": store, "PG_DSN": database}) == lines


def test_nothing_is_said_about_what_is_not_set() -> None:
    assert closed(PROD.objects, {}) == []


def test_a_range_of_ports_is_open_from_end_to_end() -> None:
    rule = {"ports": [{"port": 6400, "endPort": 6500}]}
    policy = {
        "kind": "NetworkPolicy",
        "spec": {"podSelector": {"matchLabels": {"needs-postgres": "true"}}, "egress": [rule]},
    }
    dsn = "postgresql://o:p@db.example:{}/users?sslmode=require"
    assert closed([policy], {"PG_DSN": dsn.format(6432)}) == []
    assert closed([policy], {"PG_DSN": dsn.format(5432)}) != []
