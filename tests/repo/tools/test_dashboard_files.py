"""Committed dashboards: written by the code, with descriptions, without overlaps, holes or broken links."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards import __main__ as command
from dashboards.files import FOLDER, files
from dashboards.page import BATCH, ONE_JOB, OVERVIEW
from stack.jobs import ROOT

Panel = dict[str, Any]

DASHBOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
EACH = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())
COLUMNS = 24


def panels(dashboard: dict[str, Any]) -> list[Panel]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def cells(panel: Panel) -> Iterator[tuple[int, int]]:
    place = panel["gridPos"]
    return itertools.product(range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"]))


def test_the_files_match_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--check"]) == 0, capsys.readouterr().err


def test_a_file_that_is_out_of_date_is_listed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "overview.json").write_text("{}")
    (tmp_path / "forgotten.json").write_text("{}")
    assert command.main(["--check"], tmp_path) == 1
    assert "overview.json is out of date: run `make dashboards`" in capsys.readouterr().err
    assert command.main([], tmp_path) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files()
    assert command.main(["--check"], tmp_path) == 0


@EACH
def test_panels_do_not_overlap_and_leave_no_hole(dashboard: dict[str, Any]) -> None:
    taken = [cell for panel in dashboard["panels"] for cell in cells(panel)]
    height = max(line for _, line in taken) + 1
    assert sorted(taken) == list(itertools.product(range(COLUMNS), range(height)))


@EACH
def test_every_panel_has_a_title_a_description_a_unit_and_a_text_for_no_data(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        defaults = panel["fieldConfig"]["defaults"]
        assert panel["title"], panel
        assert panel["description"].endswith("."), panel["title"]
        assert panel["type"] == "table" or defaults["unit"], panel["title"]
        assert defaults["noValue"], panel["title"]


@EACH
def test_panels_have_unique_numbers_and_titles(dashboard: dict[str, Any]) -> None:
    numbers = [panel["id"] for panel in dashboard["panels"]]
    titles = [(panel["title"], panel["type"]) for panel in panels(dashboard)]
    assert len(set(numbers)) == len(numbers)
    assert len(set(titles)) == len(titles)


@EACH
def test_every_query_uses_the_selected_data_source(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["job"]["query"].startswith("label_values(")
    for source in [*panels(dashboard), variables["job"]]:
        assert source["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@EACH
def test_every_query_selects_one_environment(dashboard: dict[str, Any]) -> None:
    variables = {variable["name"]: variable.get("query") for variable in dashboard["templating"]["list"]}
    assert variables["namespace"] == "label_values(keda_jobs_scrape_ok, namespace)"
    queries = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    for query in [*queries, variables["job"]]:
        series = re.findall(r"\bkeda_\w+(?::\w+)?\{|\{__name__", query)
        assert series, query
        assert len(series) == query.count('namespace="$namespace"') == query.count("{"), query


@EACH
def test_links_lead_to_a_dashboard_or_to_a_section_of_the_runbook(dashboard: dict[str, Any]) -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "k8s/monitoring/RUNBOOK.md").read_text(), re.MULTILINE)
    runbook = "${repository}/k8s/monitoring/RUNBOOK.md"
    known = {runbook, *(f"{runbook}#{heading.lower()}" for heading in headings)}
    known |= {f"/d/{uid}" for uid in (OVERVIEW, ONE_JOB, BATCH)}
    urls = set(re.findall(r'"url": "([^"?]+)', json.dumps(dashboard)))
    assert urls <= known, urls - known
    assert runbook in urls
    assert {committed["uid"] for committed in DASHBOARDS.values()} == {OVERVIEW, ONE_JOB, BATCH}
