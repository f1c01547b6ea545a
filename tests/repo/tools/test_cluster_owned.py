"""Secrets that somebody else made are left alone, and said."""

from __future__ import annotations

from typing import Any

from cluster.owned import MADE_BY_SETUP, apply_secrets

from .fake_cluster import FakeCluster

PLACE = ("keda-jobs-prod", "r2")
SAID = (
    "left alone, because setup did not make it: r2 in keda-jobs-prod"
    " (to hand it over: kubectl label secret r2 -n keda-jobs-prod keda-jobs/made-by=setup)"
)


def secret(name: str = "r2", value: str = "bmV3", **metadata: Any) -> dict[str, Any]:
    fields = {"name": name, "namespace": "keda-jobs-prod"} | metadata
    return {"apiVersion": "v1", "kind": "Secret", "metadata": fields, "data": {"KEY": value}}


def test_what_is_missing_is_made_with_our_label_and_applied_again(cluster: FakeCluster) -> None:
    assert apply_secrets([secret(), secret("postgres")]) == ["r2, postgres"]
    assert cluster.secrets[PLACE]["metadata"]["labels"] == MADE_BY_SETUP
    assert apply_secrets([secret(value="bmV3ZXI=")]) == ["r2"]
    assert cluster.secrets[PLACE]["data"] == {"KEY": "bmV3ZXI="}


def test_what_others_made_is_left_alone_even_in_our_overlay(cluster: FakeCluster) -> None:
    owner = [{"kind": "ExternalSecret", "name": "r2"}]
    for metadata in (
        {"ownerReferences": owner},
        {"labels": {"kustomize.toolkit.fluxcd.io/name": "platform", "app.kubernetes.io/part-of": "keda-jobs"}},
        {},
    ):
        theirs = secret(value="dGhlaXJz", **metadata)
        cluster.secrets[PLACE] = theirs
        assert apply_secrets([secret(), secret("postgres")]) == ["postgres", SAID]
        assert cluster.secrets[PLACE] == theirs
    assert apply_secrets([secret()]) == ["none", SAID]


def test_nothing_is_nothing(cluster: FakeCluster) -> None:
    assert apply_secrets([]) == ["none"]
