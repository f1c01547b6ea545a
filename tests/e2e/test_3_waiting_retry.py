"""A waiting retry holds no pod. With a delayed nak the same run holds at least one for the whole wait."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from .cluster import Object, is_at_zero, pictures_address, publish, settings, status, stored, until
from .curve import Curve
from .figures import Line, Moment, Panel, Span, record
from .guides import PLAIN, SAME, due, nak_workers, publish_naks

JOB = "image-download"
GOOD = 150
# Long enough for a slow cluster to finish the other work and come to zero before the retry is due.
DELAY_S = 150


@dataclass(frozen=True)
class Run:
    """Run of the job and of both workers at the same time. Seconds count from the beginning of the curve."""

    curve: Curve
    published_s: dict[str, float]
    due_s: dict[str, float]
    at_zero_s: float
    status_at_zero: Object
    stored: int


@pytest.fixture(scope="module")
def run(deployed: None, report: Path) -> Iterator[Run]:
    """Run 151 events through image-download and each worker with a nak. One of them fails at first."""
    settings(JOB, DOWNLOAD_ALLOW_ADDRESSES=pictures_address(), RETRY_STEP_S=str(DELAY_S))
    until(f"{JOB} is at zero", lambda: is_at_zero(JOB))
    try:
        with nak_workers(DELAY_S):
            measured = measure(report)
        write(report, measured)
        yield measured
    finally:
        settings(JOB)


def test_job_is_at_zero_while_its_retry_waits(run: Run) -> None:
    waiting = {one["job"]: one["count"] for one in run.status_at_zero["waiting_retries"]}
    assert waiting.get(JOB, 0) >= 1
    [consumer] = [one for one in run.status_at_zero["consumers"] if one["name"] == f"{JOB}-consumer"]
    assert consumer["lag"] == 0
    assert run.at_zero_s < run.due_s[JOB]
    assert not any(sample.pods[JOB] for sample in run.curve.between(run.at_zero_s, run.due_s[JOB]))


def test_job_wakes_when_the_retry_is_due_and_stores_the_picture(run: Run) -> None:
    assert any(sample.running[JOB] for sample in run.curve.samples if sample.at_s > run.due_s[JOB])
    assert run.stored == GOOD + 1


@pytest.mark.parametrize("worker", [SAME, PLAIN])
def test_delayed_nak_holds_pods_for_the_whole_delay(run: Run, worker: str) -> None:
    assert fewest_while_waiting(run, worker) >= 1


def measure(report: Path) -> Run:
    """Publish to all and watch until the retry is done and all are at zero again."""
    already = len(stored("images"))
    first = int(time.time()) * 1000
    with Curve((JOB, SAME, PLAIN)) as curve:
        publish(JOB, pictures(first), report)
        published_s = {JOB: curve.now_s}
        for app in (SAME, PLAIN):
            publish_naks(app, GOOD + 1)
            published_s[app] = curve.now_s
        due_s = {app: curve.seconds_at(due(app)) for app in (SAME, PLAIN)}
        until("the good pictures are stored", lambda: len(stored("images")) >= already + GOOD)
        until(f"{JOB} is at zero", lambda: is_at_zero(JOB))
        at_zero_s, status_at_zero = curve.now_s, status()
        due_s[JOB] = curve.seconds_at(next_due(status_at_zero))
        until("the last picture is stored", lambda: len(stored("images")) > already + GOOD)
        until("all are at zero", lambda: all(map(is_at_zero, curve.apps)))
    return Run(curve, published_s, due_s, at_zero_s, status_at_zero, len(stored("images")) - already)


def pictures(first: int) -> list[dict[str, str]]:
    """Build an event that gets one 503 and many that take a second each, with numbers that no other run has."""
    site = f"http://{pictures_address()}"
    good = [f"{site}/slow/1/{first + number}.png" for number in range(1, GOOD + 1)]
    return [{"url": url} for url in (f"{site}/flaky/{first}/1/{first}.png", *good)]


def next_due(found: Object) -> datetime:
    """Return when the job's next retry is due, according to `keda-jobs status`."""
    dues = [one["next_due"] for one in found["waiting_retries"] if one["job"] == JOB]
    assert dues, f"no retry waits any more: {found}"
    return datetime.fromisoformat(dues[0])


def fewest_while_waiting(run: Run, app: str) -> int:
    """Return the lowest number of running pods of an app while its retry waited."""
    waiting = run.curve.between(run.due_s[app] - DELAY_S, run.due_s[app])
    return min(sample.running[app] for sample in waiting)


def write(report: Path, run: Run) -> None:
    """Record the figures, and the curves side by side."""
    figures: dict[str, float] = {}
    for app in run.due_s:
        figures[f"most {app} pods"] = run.curve.highest(app)
        figures[f"fewest {app} pods while the retry waits"] = fewest_while_waiting(run, app)
        figures[f"{app} pods when the retry is due"] = run.curve.between(0, run.due_s[app])[-1].running[app]
    woken_s = run.curve.first_running_s(JOB, after_s=run.due_s[JOB]) - run.due_s[JOB]
    figures["first pod running, s after the retry was due"] = round(woken_s, 1)
    panels = [
        panel(run, "keda-jobs: a retry is a scheduled message", {JOB: ("the job", "#0969da")}),
        panel(
            run,
            "A delayed nak, as in the guides",
            {PLAIN: ("with the HPA's usual 300 s", "#8250df"), SAME: ("scaled as the job is", "#bc4c00")},
        ),
    ]
    record(report, "waiting-retry", figures, run.curve, panels)


def panel(run: Run, title: str, apps: dict[str, tuple[str, str]]) -> Panel:
    """Draw apps whose retries wait at about the same time, each from the publication of its events."""
    lines = [Line(name, colour, run.curve.running(app, run.published_s[app])) for app, (name, colour) in apps.items()]
    due_s = min(run.due_s[app] - run.published_s[app] for app in apps)
    return Panel(title, lines, [Span(due_s - DELAY_S, due_s, "the retry waits")], [Moment(due_s, "retry is due")])
