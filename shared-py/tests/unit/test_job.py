"""Events of a handler, read from its signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from keda_jobs.domain.emitted import Later, Outputs, later
from keda_jobs.domain.event import Event
from keda_jobs.event.handler import Handler, event_type
from keda_jobs.event.job import event_job
from keda_jobs.settings import JobSettings


class Asked(Event, subject="asked"):
    """Event that is read."""


class Done(Event, subject="done"):
    """Event that is returned."""


class Failed(Event, subject="failed"):
    """Another event that is returned."""


async def nothing(event: Asked, job: object) -> None: ...


async def one(event: Asked, job: object) -> Done:
    return Done()


async def perhaps_one(event: Asked, job: object) -> Done | None: ...


async def some(event: Asked, job: object) -> list[Done | Failed]:
    return []


async def pair(event: Asked, job: object) -> tuple[Done, Failed]:
    return Done(), Failed()


async def many(event: Asked, job: object) -> Sequence[Done] | tuple[Failed, ...] | None: ...


async def later_or_at_once(event: Asked, job: object) -> list[Done | Later[Failed]] | Later[Done] | None: ...


async def of_several(event: Asked, job: object) -> Later[Done | Failed]:
    return later(Done(), 60)


async def any_event(event: Asked, job: object) -> Event: ...  # type: ignore[empty-body]


async def any_list(event: Asked, job: object) -> list[Any]:
    return []


async def later_what(event: Asked, job: object) -> Later: ...  # type: ignore[empty-body,type-arg]


async def something(event: Asked, job: object):  # type: ignore[no-untyped-def]
    return Done()


@pytest.mark.parametrize(
    ("handler", "emitted"),
    [
        (nothing, []),
        (one, [Done]),
        (perhaps_one, [Done]),
        (some, [Done, Failed]),
        (pair, [Done, Failed]),
        (many, [Done, Failed]),
        (later_or_at_once, [Done, Failed]),
        (of_several, [Done, Failed]),
    ],
)
def test_the_annotation_of_a_handler_names_the_events_it_returns(handler: Handler, emitted: list[type[Event]]) -> None:
    assert event_type(handler) is Asked
    assert event_job(handler, JobSettings).outputs.events == emitted


def test_events_at_once_and_for_later_are_told_apart() -> None:
    assert event_job(later_or_at_once, JobSettings).outputs == Outputs((Done,), (Failed, Done))


@pytest.mark.parametrize("handler", [any_event, any_list, later_what, something])
def test_an_ambiguous_annotation_is_refused(handler: Handler) -> None:
    with pytest.raises(TypeError, match=f"the events that {handler.__name__} returns must be named"):
        event_job(handler, JobSettings).outputs.events  # noqa: B018
