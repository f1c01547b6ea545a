"""Every job accepts the events that others send, by their JSON Schemas, and the stream takes them."""

from __future__ import annotations

import json

import pytest

from event_files.compatibility import refusals
from event_files.views import View, links, views_of
from keda_jobs.domain.subjects import covers
from stack import all_jobs
from stack.jobs import ROOT

VIEWS = views_of(all_jobs())
STREAM_SUBJECTS: list[str] = json.loads((ROOT / "jobs/stream.json").read_text())["subjects"]
LINKS = [pytest.param(sent, read, id=f"{sent.job} to {read.job}") for sent, read in links(VIEWS)]


@pytest.mark.parametrize(("sent", "read"), LINKS)
def test_a_sent_event_is_accepted(sent: View, read: View) -> None:
    assert sent.event is not read.event, "each job declares its own view of an event"
    assert refusals(sent.schema(), read.schema()) == []


def test_the_two_image_jobs_are_linked() -> None:
    assert "image-download to image-resize" in [link.id for link in LINKS]


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: str(view.path))
def test_every_subject_belongs_to_the_stream(view: View) -> None:
    assert any(covers(pattern, view.subject) for pattern in STREAM_SUBJECTS), (
        f"{view.subject} is not among the subjects of jobs/stream.json"
    )
