"""The record of a setup changes with what a setup applies, and not with what a deploy applies."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster import setup_record

TOML = "[scale]\nmax_replicas = 3\n"
SCHEDULE = '[[schedules]]\nname = "nightly"\ncron = "30 2 * * *"\nevent = {url = "https://a"}\n'


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (TOML, TOML.replace("3", "4"), False),
        (TOML + SCHEDULE, f"{TOML.replace('3', '4')}# at night\n{SCHEDULE}", False),
        (TOML, TOML + SCHEDULE, True),
        (TOML + SCHEDULE, TOML + SCHEDULE.replace("30 2", "30 3"), True),
        (TOML + SCHEDULE, TOML + SCHEDULE.replace("//a", "//b"), True),
    ],
)
def test_a_job_toml_asks_for_a_setup_where_its_schedules_change(
    tmp_path: Path, before: str, after: str, changes: bool
) -> None:
    file = tmp_path / "jobs/new-here/job.toml"
    file.parent.mkdir(parents=True)
    file.write_text(before)
    former = setup_record.record(tmp_path)
    file.write_text(after)
    assert (setup_record.record(tmp_path) != former) is changes
