"""Parts of a rendered overlay, and what others have in its namespaces, with a stand-in for kubectl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.repo.manifests.rendered import Source

from cluster.overlay import ADMINISTRATOR_KINDS, foreign, namespaces, select, taken, unread_disks
from stack.jobs import ROOT

# Prints what KNOWN holds for the first word after `get`: `--filename=-` or the workloads.
KUBECTL = """#!/usr/bin/env python3
import json, os, sys
print(json.dumps({"items": json.loads(os.environ["KNOWN"]).get(sys.argv[2], [])}))
"""


def thing(kind: str, name: str, namespace: str | None = None, **labels: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "labels": labels}}


def ours(kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    return thing(kind, name, namespace, **{"app.kubernetes.io/part-of": "keda-jobs"})


@pytest.fixture(scope="module")
def objects() -> list[dict[str, Any]]:
    """Render an overlay."""
    return Source(ROOT / "k8s/kustomize/overlays/test").objects


@pytest.fixture
def cluster(objects: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Put a stand-in for kubectl first in PATH, once kubectl has rendered the overlay. Its answers are in KNOWN."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return monkeypatch


def test_the_parts_are_the_whole_and_share_nothing(objects: list[dict[str, Any]]) -> None:
    cluster, rest = select(objects, "cluster"), select(objects, "namespaces")
    assert {one["kind"] for one in cluster} <= ADMINISTRATOR_KINDS
    assert not {one["kind"] for one in rest} & ADMINISTRATOR_KINDS
    assert len(cluster) + len(rest) == len(objects)
    assert namespaces(cluster) == ["keda-jobs-prod", "keda-jobs-test", "nats"]


def test_what_is_ours_is_in_nobody_s_way(cluster: pytest.MonkeyPatch, objects: list[dict[str, Any]]) -> None:
    found = [ours("Namespace", "nats"), ours("StatefulSet", "nats", "nats")]
    cluster.setenv("KNOWN", json.dumps({"--filename=-": found}))
    assert list(foreign(objects)) == []


def test_an_object_of_others_that_would_be_overwritten_is_named(
    cluster: pytest.MonkeyPatch, objects: list[dict[str, Any]]
) -> None:
    found = [ours("Namespace", "nats"), thing("StatefulSet", "nats", "nats"), ours("Service", "nats", "nats")]
    cluster.setenv("KNOWN", json.dumps({"--filename=-": found}))
    assert list(foreign(objects)) == [("nats", ["StatefulSet nats"])]


def test_a_namespace_of_others_is_named_with_what_runs_in_it(
    cluster: pytest.MonkeyPatch, objects: list[dict[str, Any]]
) -> None:
    known = {
        "--filename=-": [thing("Namespace", "nats")],
        "statefulsets,deployments,daemonsets": [thing("StatefulSet", "broker", "nats")],
    }
    cluster.setenv("KNOWN", json.dumps(known))
    assert list(foreign(objects)) == [("nats", ["Namespace nats", "StatefulSet broker"])]


def test_a_namespace_of_another_environment_is_named_with_it(
    cluster: pytest.MonkeyPatch, objects: list[dict[str, Any]]
) -> None:
    known = [ours("Namespace", "nats"), ours("Namespace", "keda-jobs-prod"), ours("Namespace", "old")]
    for one, environment in zip(known, ("test", "staging"), strict=False):
        one["metadata"]["labels"]["keda-jobs/environment"] = environment
    cluster.setenv("KNOWN", json.dumps({"--filename=-": known}))
    cluster.setenv("ENV", "test")
    assert list(taken(objects)) == [("keda-jobs-prod", "staging")]


@pytest.mark.parametrize(
    ("disks", "servers", "unread"),
    [
        (0, 1, []),
        (0, 3, []),
        (1, 1, []),
        (3, 3, []),
        (2, 3, []),  # one is lost
        (1, 3, ["data-nats-0"]),
        (3, 1, ["data-nats-0", "data-nats-1", "data-nats-2"]),
    ],
)
def test_disks_that_another_number_of_servers_would_not_read_are_named(
    cluster: pytest.MonkeyPatch, disks: int, servers: int, unread: list[str]
) -> None:
    claims = [ours("PersistentVolumeClaim", f"data-nats-{number}", "nats") for number in range(disks)]
    cluster.setenv("KNOWN", json.dumps({"persistentvolumeclaims": claims}))
    nats = ours("StatefulSet", "nats", "nats") | {"spec": {"replicas": servers}}
    assert unread_disks([ours("Namespace", "nats"), nats]) == unread
    assert unread_disks([ours("Namespace", "jobs")]) == []
