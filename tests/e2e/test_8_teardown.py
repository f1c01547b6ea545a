"""teardown-all.sh takes away what setup-all.sh made: the events only when it is told to, and nothing else is left."""

from __future__ import annotations

import json

import pytest

from stack.jobs import ROOT

from .cluster import NATS, CommandFailed, in_cluster, kubectl, name_of, objects, run, status
from .inventory import inventory

pytestmark = pytest.mark.timeout(1800)

# Of the stream, and of no consumer.
NOBODYS = "retry.due.e2e"


@pytest.fixture(scope="module")
def keda_is_ours(deployed: None) -> None:
    """Skips where setup-all.sh found a KEDA: that one stays, and what is left of ours cannot be told from it."""
    annotations = json.loads(kubectl("get", "namespace", "keda", "-o", "json"))["metadata"].get("annotations", {})
    if "keda-jobs/installed-keda" not in annotations:
        pytest.skip("KEDA was there before setup-all.sh, which leaves it alone")


def test_a_teardown_that_nobody_confirms_removes_nothing(keda_is_ours: None) -> None:
    before = sorted(inventory())
    with pytest.raises(CommandFailed, match="pass --yes"):
        run("k8s/setup-scripts/teardown-all.sh", "--delete-data", given="")
    assert sorted(inventory()) == before


def test_a_teardown_keeps_the_events_and_the_next_setup_goes_on_with_them(keda_is_ours: None) -> None:
    in_cluster("keda-jobs", "pub", NOBODYS, "{}")
    claims, stream = uids_of_claims(), status()["stream"]
    teardown()
    assert claims
    assert uids_of_claims() == claims
    left = [thing for thing in inventory().values() if thing["metadata"].get("namespace") != NATS]
    assert [name_of(thing) for thing in left if thing["kind"] != "PersistentVolume"] == [NATS]
    assert objects("pods", NATS) == []

    run("k8s/setup-scripts/setup-all.sh", "--overlay", "test", deadline_s=600)
    assert uids_of_claims() == claims
    again = status()["stream"]
    assert (again["messages"], again["first_time"]) == (stream["messages"], stream["first_time"])


def test_a_teardown_of_the_data_too_leaves_nothing_of_ours(keda_is_ours: None) -> None:
    for manifest in sorted(ROOT.glob("jobs/*/service.yaml")):
        kubectl("apply", "-f", str(manifest))
    teardown("--delete-data")
    assert sorted(inventory()) == []


def test_a_teardown_of_nothing_ends_well(keda_is_ours: None) -> None:
    teardown("--delete-data")
    assert sorted(inventory()) == []


def teardown(*options: str) -> None:
    run("k8s/setup-scripts/teardown-all.sh", "--yes", *options, deadline_s=900)


def uids_of_claims() -> set[str]:
    return {claim["metadata"]["uid"] for claim in objects("persistentvolumeclaims", NATS)}
