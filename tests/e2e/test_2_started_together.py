"""The lag of image-download starts image-resize as well, so that the first thumbnail from zero comes earlier."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

import pytest

from . import traffic
from .cluster import JOBS, TEST, Object, is_at_zero, kubectl, publish, status, until
from .figures import record
from .servers.pictures import picture

DOWNLOAD, RESIZE = "image-download", "image-resize"
MANIFEST = f"jobs/{RESIZE}/service.yaml"
# KEDA looks every 5 s, and a publish meets it at any moment between. So a single run says little.
ROUNDS = 5


@dataclass(frozen=True)
class Run:
    """Seconds that one picture took, from zero pods of both jobs."""

    to_thumbnail_s: float
    """From the confirmed event to the thumbnail."""
    from_original_s: float
    """From the original in the store to the thumbnail, which is the part that the second trigger can shorten."""


@pytest.fixture
def triggers(at_rest: None) -> Iterator[list[Object]]:
    """Return the triggers of image-resize, and restore them at the end."""
    found: list[Object] = scaled_object()["spec"]["triggers"]
    yield found
    kubectl("apply", "-f", MANIFEST)


def test_first_thumbnail_comes_earlier_with_the_second_trigger(triggers: list[Object], report: Path) -> None:
    own, second = triggers
    runs: dict[str, list[Run]] = {"alone": [], "together": []}
    ways = {"alone": [own], "together": [own, second]}
    for round_ in range(ROUNDS):
        # In the other order each time: what changes slowly on the cluster meets both alike.
        for way in sorted(ways, reverse=bool(round_ % 2)):
            set_triggers(ways[way])
            runs[way].append(measure(report))
            to_zero()
    alone_s, together_s = (mean(run.from_original_s for run in runs[way]) for way in ways)
    write(report, runs)
    # Measured: 3.6 s. A single run saves from 0.5 to 6 s, by when KEDA looks.
    assert alone_s - together_s >= 1.5


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
    publish(DOWNLOAD, traffic.events([number], "slow/1"), report)
    published_at = time.time()
    until("the thumbnail is stored", lambda: not traffic.not_done([number]))
    name = f"{hashlib.sha256(picture(number)).hexdigest()}.png"
    original_at, thumbnail_at = (written_at(f"{folder}/{name}") for folder in ("images", "images_resized"))
    return Run(thumbnail_at - published_at, thumbnail_at - original_at)


def written_at(key: str) -> float:
    """Return when an object of the bucket was written, in seconds since 1970."""
    return float(kubectl("exec", "-n", TEST, "deployment/s3", "--", "stat", "-c", "%.3Y", f"/data/keda-jobs/{key}"))


def to_zero() -> None:
    """Bring both jobs to zero once they have no work, without the wait for KEDA's cooldown."""
    until("both jobs are idle", lambda: not any(one["lag"] for one in status()["consumers"]))
    kubectl("scale", "deployment", DOWNLOAD, RESIZE, "-n", JOBS, "--replicas=0")
    until("both jobs are at zero", lambda: is_at_zero(DOWNLOAD) and is_at_zero(RESIZE))


def write(report: Path, runs: dict[str, list[Run]]) -> None:
    """Record the median of each way, and all values."""
    figures: dict[str, float | str] = {}
    for way, those in runs.items():
        for part, values in (
            ("first thumbnail, s after publishing", [run.to_thumbnail_s for run in those]),
            ("s after its original", [run.from_original_s for run in those]),
        ):
            figures[f"{way}: {part}"] = round(median(values), 1)
            figures[f"{way}: {part}, all"] = " ".join(f"{value:.1f}" for value in values)
    record(report, "started-together", figures)
