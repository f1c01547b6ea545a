"""Outcomes of an event."""

from __future__ import annotations

import pytest

from <package>.handler import handle
from <package>.settings import Settings
from keda_jobs.domain.policy import Ack, Dead
from keda_jobs.testing import run_one

EVENT = {"<field>": "a"}


async def test_an_event_is_acked_without_an_output() -> None:
    result = await run_one(handle, EVENT, settings=Settings(steps=1))
    assert result.decision == Ack()


@pytest.mark.parametrize(
    ("wrong", "error_class"),
    [
        ({"<field>": None}, "InvalidEvent"),
        ({"<field>": ""}, "Unusable"),
        ({"<field>": "a" * 1025}, "Unusable"),
    ],
)
async def test_an_unusable_event_is_a_dead_letter(wrong: dict[str, object], error_class: str) -> None:
    result = await run_one(handle, EVENT | wrong)
    assert isinstance(result.decision, Dead)
    assert result.decision.error_class == error_class
