"""300 pictures: both event jobs go from zero to several pods and back, and nothing is missing."""

from __future__ import annotations

import time
from pathlib import Path

from .cluster import is_at_zero, pictures_address, publish, status, stored, until
from .curve import Curve
from .figures import Line, Moment, Panel, record

PICTURES = 300
DOWNLOAD, RESIZE = "image-download", "image-resize"


def test_300_pictures_take_both_jobs_from_zero_to_several_pods_and_back(at_rest: None, report: Path) -> None:
    originals, thumbnails, before = set(stored("images")), set(stored("images_resized")), dead_letters()
    with Curve((DOWNLOAD, RESIZE)) as curve:
        publish(DOWNLOAD, events(), report)
        seconds = {"published": curve.now_s}
        until("the first thumbnail is stored", lambda: set(stored("images_resized")) > thumbnails)
        seconds["first thumbnail"] = curve.now_s
        until("all thumbnails are stored", lambda: len(stored("images_resized")) == len(thumbnails) + PICTURES)
        seconds[f"all {PICTURES} thumbnails"] = curve.now_s
        until("both jobs are at zero again", lambda: is_at_zero(DOWNLOAD) and is_at_zero(RESIZE))
        seconds["both jobs at zero"] = curve.now_s
    write(report, curve, seconds)
    new_originals, new_thumbnails = set(stored("images")) - originals, set(stored("images_resized")) - thumbnails
    assert len(new_originals) == PICTURES
    assert new_thumbnails == new_originals  # the names are the originals' hashes
    assert dead_letters() == before
    assert curve.highest(DOWNLOAD) >= 2
    assert curve.highest(RESIZE) >= 1


def events() -> list[dict[str, str]]:
    """Build events for pictures that no other run has. Each takes a second, as from a usual site."""
    address, first = pictures_address(), int(time.time()) * 1000
    return [{"url": f"http://{address}/slow/1/{first + number}.png"} for number in range(PICTURES)]


def dead_letters() -> int:
    """Return the number of dead letters."""
    return int(status()["dead_letters"]["total"])


def write(report: Path, curve: Curve, seconds: dict[str, float]) -> None:
    """Record figures and curves. All times count from the confirmation of the last event."""
    zero_s = seconds["published"]
    after = {what: round(at_s - zero_s, 1) for what, at_s in seconds.items()}
    figures = {f"{what}, s after publishing": at_s for what, at_s in after.items() if at_s}
    for job in (DOWNLOAD, RESIZE):
        figures[f"first {job} pod running, s after publishing"] = round(curve.first_running_s(job) - zero_s, 1)
        figures[f"most {job} pods"] = curve.highest(job)
    lines = [
        Line(DOWNLOAD, "#0969da", curve.running(DOWNLOAD, zero_s)),
        Line(RESIZE, "#bc4c00", curve.running(RESIZE, zero_s)),
    ]
    moments = [Moment(after[what], what) for what in ("first thumbnail", f"all {PICTURES} thumbnails")]
    panel = Panel(f"{PICTURES} pictures published at once", lines, moments=moments)
    record(report, "pictures", figures, curve, [panel])
