"""Tables of metrics come from the registries, and the metrics have names in Prometheus' style."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric, exposition
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse

import metrics_docs
import settings_docs

PLACE = "<!-- metrics:start -->\n<!-- metrics:end -->\n"
# Jobs choose their values, and no publisher does.
LABELS = {"job", "le", "outcome", "operation", "error_class", "consumer", "source", "status"}
UNITS = ("seconds", "bytes")

parse_openmetrics: Callable[[str], Iterable[Metric]] = text_string_to_metric_families


def exposed() -> Iterator[Metric]:
    """Yield every family as a scraper reads it."""
    for _, registry in metrics_docs.SOURCES:
        yield from parse(exposition.generate_latest(registry).decode())


def names() -> list[str]:
    return [family.name for family in exposed()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Create a repository with the page."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "observability.md").write_text(PLACE)
    return tmp_path


def test_they_have_every_metric_with_its_type_labels_and_unit(root: Path) -> None:
    assert metrics_docs.main([], root) == 0
    written = (root / "docs" / "observability.md").read_text()
    for line in (
        "| `keda_jobs_batches_total` | counter | `job`, `outcome` (completed, lost, recovered) | – | ",
        "| `keda_jobs_message_duration_seconds` | histogram | `job` | s | ",
        "| `keda_jobs_store_bytes_total` | counter | `job`, `operation` (get, put) | bytes | ",
        "| `keda_jobs_heartbeat_age_seconds` | gauge | `job` | s | ",
    ):
        assert line in written
    assert all(name in written for name in names())
    assert metrics_docs.main(["--check"], root) == 0


def test_a_stale_page_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert metrics_docs.main(["--check"], root) == 1
    assert capsys.readouterr().err.startswith("docs/observability.md: ")


def test_a_metric_whose_labels_cannot_be_told_is_named() -> None:
    registry = CollectorRegistry()
    Counter("keda_jobs_silent", "never counted", ["job"], registry=registry)
    with pytest.raises(settings_docs.DocsError, match="keda_jobs_silent has no sample"):
        metrics_docs.table(registry.collect())


def test_each_name_is_there_once_and_says_whose_it_is() -> None:
    found = names()
    assert len(found) == len(set(found))
    assert all(re.fullmatch(r"keda_jobs_[a-z0-9_]+", name) for name in found)


def test_counters_and_no_others_end_in_total() -> None:
    for family in exposed():
        assert not re.search(r"_(total|count|sum|bucket|created)$", family.name.removesuffix("_total"))
        totals = [sample.name.endswith("_total") for sample in family.samples]
        assert all(totals) if family.type == "counter" else not any(totals)


def test_units_are_base_units_at_the_end_of_a_name() -> None:
    for name in names():
        assert not re.search(r"_(ms|milliseconds|minutes|hours|kb|mb|kilobytes|megabytes|percent)(_|$)", name)
        for unit in UNITS:
            assert unit not in name.split("_") or name.endswith(unit)


def test_every_metric_has_a_meaning_a_known_type_and_no_label_but_these() -> None:
    for family in exposed():
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        assert {label for sample in family.samples for label in sample.labels} <= LABELS


def test_openmetrics_has_the_same_families() -> None:
    encode, _ = exposition.choose_encoder("application/openmetrics-text")
    found = [
        family.name for _, registry in metrics_docs.SOURCES for family in parse_openmetrics(encode(registry).decode())
    ]
    assert sorted(found) == sorted(names())
