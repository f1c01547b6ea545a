"""Results of a row."""

from __future__ import annotations

import pytest

from <package>.handler import Checked, handle
from keda_jobs.testing import run_row

ROW = {"name": " Ada   Lovelace "}


async def test_a_name_is_written_with_single_blanks() -> None:
    result = await run_row(handle, ROW)
    assert result.written == Checked("Ada Lovelace")
    assert result.failure is None


@pytest.mark.parametrize("name", [None, "", "  "])
async def test_a_row_without_a_name_fails_permanently(name: str | None) -> None:
    result = await run_row(handle, ROW | {"name": name})
    assert result.written is None
    assert result.failure is not None
    assert (result.failure.error, result.failure.delay_s) == ("Invalid: name: missing", None)
