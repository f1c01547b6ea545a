"""teardown-all.sh removes what setup-all.sh created, and the events only with an option."""

from __future__ import annotations

import json

import pytest

from stack.jobs import ROOT

from .cluster import NATS, CommandFailed, in_cluster, kubectl, name_of, objects, run, status
from .inventory import inventory

# A subject of the retries stream whose messages stay there.
UNREAD = "retry.wait.e2e.1"


@pytest.fixture(scope="module")
def keda_is_ours(deployed: None) -> None:
    """Skip where setup-all.sh found a KEDA: it stays, and its objects look like ours."""
    annotations = json.loads(kubectl("get", "namespace", "keda", "-o", "json"))["metadata"].get("annotations", {})
    if "keda-jobs/installed-keda" not in annotations:
        pytest.skip("KEDA was there before setup-all.sh, which leaves it alone")


def test_unconfirmed_teardown_removes_nothing(keda_is_ours: None) -> None:
    before = sorted(inventory())
    with pytest.raises(CommandFailed, match="pass --yes"):
        run("k8s/setup-scripts/teardown-all.sh", "--delete-data", given="")
    assert sorted(inventory()) == before


def test_teardown_keeps_the_events_for_the_next_setup(keda_is_ours: None) -> None:
    in_cluster("keda-jobs", "pub", UNREAD, "{}")
    claims, before = uids_of_claims(), sizes()
    teardown()
    assert claims
    assert uids_of_claims() == claims
    left = [thing for thing in inventory().values() if thing["metadata"].get("namespace") != NATS]
    assert [name_of(thing) for thing in left if thing["kind"] != "PersistentVolume"] == [NATS]
    assert objects("pods", NATS) == []

    run("k8s/setup-scripts/setup-all.sh", "--yes")
    assert uids_of_claims() == claims
    assert sizes() == before


def test_teardown_with_the_data_leaves_nothing_of_ours(keda_is_ours: None) -> None:
    for manifest in sorted(ROOT.glob("jobs/*/service.yaml")):
        kubectl("apply", "-f", str(manifest))
    teardown("--delete-data")
    assert sorted(inventory()) == []


def test_teardown_of_nothing_ends_well(keda_is_ours: None) -> None:
    teardown("--delete-data")
    assert sorted(inventory()) == []


def teardown(*options: str) -> None:
    run("k8s/setup-scripts/teardown-all.sh", "--yes", *options)


def sizes() -> list[tuple[str, int, str | None]]:
    return [(stream["name"], stream["messages"], stream["first_time"]) for stream in status()["streams"]]


def uids_of_claims() -> set[str]:
    return {claim["metadata"]["uid"] for claim in objects("persistentvolumeclaims", NATS)}
