"""Long work is never interrupted by a deploy or a scale-down. The same work as an event job is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from .cluster import JOBS, objects, status, until
from .curve import Curve
from .figures import Line, Moment, Panel, record
from .slow_jobs import EVENT, LONG, NEW_IMAGE, OLD_IMAGE, deliveries, publish, slow_jobs

pytestmark = pytest.mark.slow

WORK_S = 40
HALF = 5


@dataclass(frozen=True)
class Run:
    """Run of ten messages through both jobs. Seconds count from the beginning of the curve."""

    curve: Curve
    published_s: float
    rolled_s: float
    delivered: dict[str, int]
    images: set[str]
    shown: int


@pytest.fixture(scope="module")
def run(deployed: None, report: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Publish five messages, roll the image while they are worked on, and publish five more."""
    with slow_jobs(tmp_path_factory.mktemp("slow")) as jobs, Curve((LONG, EVENT)) as curve:
        publish(WORK_S, HALF)
        published_s = curve.now_s
        until("both jobs work", lambda: is_ready(curve, LONG, HALF) and is_ready(curve, EVENT, 1))
        shown = len(status()["long_work"])
        jobs.apply(NEW_IMAGE)
        rolled_s = curve.now_s
        publish(WORK_S, HALF)
        until("both images run", lambda: images_of(LONG) >= {OLD_IMAGE, NEW_IMAGE})
        both = images_of(LONG)
        for job in (LONG, EVENT):
            until(f"{job} has settled all", lambda job=job: deliveries(job)["left"] == 0)  # type: ignore[misc]
        delivered = {job: deliveries(job)["delivered"] for job in (LONG, EVENT)}
    measured = Run(curve, published_s, rolled_s, delivered, both, shown)
    write(report, measured)
    return measured


def test_no_long_message_is_interrupted_and_none_runs_twice(run: Run) -> None:
    assert run.delivered[LONG] == 2 * HALF


def test_the_event_job_repeats_what_the_deploy_interrupted(run: Run) -> None:
    assert run.delivered[EVENT] > 2 * HALF


def test_the_new_image_works_beside_the_old_one(run: Run) -> None:
    assert run.images == {OLD_IMAGE, NEW_IMAGE}


def test_keda_starts_one_pod_for_each_message(run: Run) -> None:
    """Count running pods. With the strategy `accurate` each running Job would have a second one started."""
    assert run.curve.highest(LONG) <= 2 * HALF


def test_status_shows_what_runs(run: Run) -> None:
    assert 0 < run.shown <= HALF


def is_ready(curve: Curve, job: str, pods: int) -> bool:
    """Return whether that many pods of the job have been ready at once."""
    return any(sample.ready[job] >= pods for sample in curve.samples)


def images_of(job: str) -> set[str]:
    """Return the images of the job's running pods."""
    running = [pod for pod in objects("pods", JOBS, f"app={job}") if pod["status"].get("phase") == "Running"]
    return {container["image"] for pod in running for container in pod["spec"]["containers"]}


def write(report: Path, run: Run) -> None:
    """Record the figures, and both curves in one picture."""
    figures: dict[str, float] = {}
    for job in (LONG, EVENT):
        figures[f"deliveries of ten messages to {job}"] = run.delivered[job]
        figures[f"most {job} pods"] = run.curve.highest(job)
    names = {LONG: ("as a long job", "#0969da"), EVENT: ("as an event job", "#bc4c00")}
    lines = [Line(name, colour, run.curve.running(job, run.published_s)) for job, (name, colour) in names.items()]
    moment = Moment(run.rolled_s - run.published_s, "new image, five more")
    panels = [Panel(f"Ten messages of {WORK_S} s", lines, (), [moment])]
    record(report, "long-work", figures, run.curve, panels)
