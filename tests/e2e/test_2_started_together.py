"""The lag of image-download starts image-resize as well, so that a pod is ready when the first original comes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from . import traffic
from .cluster import JOBS, TEST, Object, is_at_zero, kubectl, pods, publish, status, until
from .figures import record
from .servers.pictures import picture

DOWNLOAD, RESIZE = "image-download", "image-resize"
MANIFEST = f"jobs/{RESIZE}/service.yaml"
# Seconds of the download, longer than KEDA takes to look (5 s) and a pod to start.
DOWNLOAD_S = 20


@dataclass(frozen=True)
class Run:
    """Moments of one picture, from zero pods of both jobs, in seconds since 1970."""

    original_at: float
    thumbnail_at: float
    pod_created_at: float
    """When the pod of image-resize was created, in whole seconds."""

    @property
    def from_original_s(self) -> float:
        """Seconds from the original to the thumbnail, which the second trigger shortens."""
        return self.thumbnail_at - self.original_at


@pytest.fixture
def triggers(at_rest: None) -> Iterator[list[Object]]:
    """Return the triggers of image-resize, and restore them at the end."""
    found: list[Object] = scaled_object()["spec"]["triggers"]
    yield found
    kubectl("apply", "-f", MANIFEST)


def test_a_pod_waits_for_the_first_original_with_the_second_trigger(triggers: list[Object], report: Path) -> None:
    own, second = triggers
    set_triggers([own])
    alone = measure(report)
    to_zero()
    set_triggers([own, second])
    together = measure(report)
    write(report, {"alone": alone, "together": together})
    assert together.pod_created_at < together.original_at
    assert alone.pod_created_at > alone.original_at - 1
    assert together.from_original_s < alone.from_original_s


def scaled_object() -> Object:
    """Return the ScaledObject of image-resize."""
    found: Object = json.loads(kubectl("get", "scaledobject", RESIZE, "-n", JOBS, "-o", "json"))
    return found


def set_triggers(triggers: list[Object]) -> None:
    """Give image-resize these triggers, and wait until KEDA has taken them."""
    patch = json.dumps({"spec": {"triggers": triggers}})
    kubectl("patch", "scaledobject", RESIZE, "-n", JOBS, "--type=merge", "-p", patch)
    until("KEDA has taken the triggers", lambda: len(scaled_object()["status"]["externalMetricNames"]) == len(triggers))


def measure(report: Path) -> Run:
    """Publish one picture and wait for its thumbnail. The times are those of the files in the store."""
    [number] = traffic.new_numbers(1)
    publish(DOWNLOAD, traffic.events([number], f"slow/{DOWNLOAD_S}"), report)
    until("the thumbnail is stored", lambda: not traffic.not_done([number]))
    created = [datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp() for pod in pods(RESIZE)]
    name = f"{hashlib.sha256(picture(number)).hexdigest()}.png"
    return Run(written_at(f"images/{name}"), written_at(f"images_resized/{name}"), min(created))


def written_at(key: str) -> float:
    """Return when an object of the bucket was written, in seconds since 1970."""
    return float(kubectl("exec", "-n", TEST, "deployment/s3", "--", "stat", "-c", "%.3Y", f"/data/keda-jobs/{key}"))


def to_zero() -> None:
    """Bring both jobs to zero once they have no work, without the wait for KEDA's cooldown."""
    until("both jobs are idle", lambda: not any(one["lag"] for one in status()["consumers"]))
    kubectl("scale", "deployment", DOWNLOAD, RESIZE, "-n", JOBS, "--replicas=0")
    until("both jobs are at zero", lambda: is_at_zero(DOWNLOAD) and is_at_zero(RESIZE))


def write(report: Path, runs: dict[str, Run]) -> None:
    """Record how long the thumbnail came after its original."""
    figures = {f"{way}: thumbnail, s after its original": round(run.from_original_s, 1) for way, run in runs.items()}
    record(report, "started-together", figures)
