"""Events of rows."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from <package>.events import <Event>
from <package>.handler import send
from keda_jobs.testing import run_row

ROW = {"subject": "<subject>", "payload": {"<field>": "a"}, "created_at": datetime(2026, 1, 1, tzinfo=UTC)}


async def test_a_row_is_sent_as_its_event() -> None:
    result = await run_row(send, ROW)
    assert result.failure is None
    assert result.events == [<Event>(<field>="a")]


@pytest.mark.parametrize(
    ("wrong", "error_class"), [({"subject": "unheard-of"}, "UnknownSubject"), ({"payload": {}}, "InvalidEvent")]
)
async def test_a_row_without_an_event_fails_permanently(wrong: dict[str, object], error_class: str) -> None:
    result = await run_row(send, ROW | wrong)
    assert result.events == []
    assert result.failure is not None
    assert result.failure.error.startswith(error_class)
    assert result.failure.delay_s is None
