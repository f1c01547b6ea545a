"""Status screen of objects from the API server."""

from __future__ import annotations

import dataclasses

import pytest
from rich.console import Console

import environments
from cluster.status import is_part, is_paused, missing_parts, phase_of, pods_table, scaled_table


@pytest.mark.parametrize(
    ("pod", "phase"),
    [
        (
            {"metadata": {}, "status": {"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}},
            "Running",
        ),
        ({"metadata": {"deletionTimestamp": "now"}, "status": {"phase": "Running"}}, "Terminating"),
        (
            {
                "metadata": {},
                "status": {
                    "phase": "Pending",
                    "containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}],
                },
            },
            "ImagePullBackOff",
        ),
        ({"metadata": {}, "status": {}}, "Unknown"),
    ],
)
def test_a_pod_shows_its_most_precise_state(pod: dict[str, object], phase: str) -> None:
    assert phase_of(pod) == phase


@pytest.mark.parametrize(
    ("annotations", "paused"),
    [
        ({}, False),
        ({"autoscaling.keda.sh/paused": "true"}, True),
        ({"autoscaling.keda.sh/paused": "false"}, False),
        ({"autoscaling.keda.sh/paused-replicas": "0"}, True),
    ],
)
def test_both_of_kedas_annotations_pause(annotations: dict[str, str], paused: bool) -> None:
    assert is_paused({"metadata": {"annotations": annotations}}) is paused


def shown(table: object) -> list[str]:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(table)
    return [" ".join(line.split()) for line in captured.get().splitlines()[2:]]


def test_pods_are_counted_by_job_and_phase() -> None:
    pod = {"metadata": {"labels": {"app": "image-resize"}}, "status": {"phase": "Running"}}
    assert shown(pods_table([pod, pod])) == ["image-resize Running 2"]


def test_a_scaled_object_without_a_status_yet_is_shown_too() -> None:
    new = {"kind": "ScaledObject", "metadata": {"name": "image-resize"}, "spec": {"maxReplicaCount": 10}}
    assert shown(scaled_table([new], {})) == ["image-resize ScaledObject ? ? - 0 10 0"]


@pytest.mark.parametrize(
    ("namespace", "name", "is_one"),
    [("nats", "nats", True), ("shared", "keda-operator", True), ("shared", "other", False), ("apps", "keda-ui", False)],
)
def test_keda_is_a_part_wherever_it_is(namespace: str, name: str, is_one: bool) -> None:
    workload = {"metadata": {"namespace": namespace, "name": name}}
    assert is_part(workload, {"shared"}, environments.load("prod")) is is_one


def test_a_nats_of_its_owners_is_not_missed() -> None:
    ours = environments.load("prod")
    assert missing_parts([], ours) == {"keda-operator", "nats"}
    assert missing_parts([], dataclasses.replace(ours, nats_namespace="")) == {"keda-operator"}
