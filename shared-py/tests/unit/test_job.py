"""What the signature of a handler says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from keda_jobs.domain.event import Event
from keda_jobs.event.job import Handler, emitted_types, event_type


class Asked(Event, subject="asked"):
    """What is read."""


class Done(Event, subject="done"):
    """What is written."""


class Failed(Event, subject="failed"):
    """What is written, too."""


async def nothing(event: Asked, job: object) -> None: ...


async def one(event: Asked, job: object) -> Done:
    return Done()


async def perhaps_one(event: Asked, job: object) -> Done | None: ...


async def some(event: Asked, job: object) -> list[Done | Failed]:
    return []


async def pair(event: Asked, job: object) -> tuple[Done, Failed]:
    return Done(), Failed()


async def many(event: Asked, job: object) -> Sequence[Done] | tuple[Failed, ...] | None: ...


async def any_event(event: Asked, job: object) -> Event: ...  # type: ignore[empty-body]


async def any_list(event: Asked, job: object) -> list[Any]:
    return []


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
    ],
)
def test_the_events_that_a_handler_returns_stand_in_its_annotation(
    handler: Handler, emitted: list[type[Event]]
) -> None:
    assert event_type(handler) is Asked
    assert emitted_types(handler) == emitted


@pytest.mark.parametrize("handler", [any_event, any_list, something])
def test_an_annotation_that_leaves_open_which_events_is_refused(handler: Handler) -> None:
    with pytest.raises(TypeError, match=f"the events that {handler.__name__} returns must be named"):
        emitted_types(handler)
