"""Tables of metrics come from the registries, and the metrics have names in Prometheus' style."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Metric, exposition
from prometheus_client.parser import text_string_to_metric_families as parse

import metrics_docs
from generated_files import SourceError

PLACE = "<!-- metrics:start -->\n<!-- metrics:end -->\n"
# Jobs choose their values, and no publisher does.
LABELS = {"job", "le", "outcome", "operation", "error_class", "consumer", "kept", "source", "status", "stream"}


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
    assert capsys.readouterr().err.startswith("docs/observability.md is stale; ")


def test_a_metric_whose_labels_cannot_be_told_is_named() -> None:
    registry = CollectorRegistry()
    Counter("keda_jobs_silent", "never counted", ["job"], registry=registry)
    with pytest.raises(SourceError, match="keda_jobs_silent has no sample"):
        metrics_docs.table(registry.collect())


def test_every_metric_has_a_meaning_a_known_type_and_no_label_but_these() -> None:
    for family in exposed():
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        assert {label for sample in family.samples for label in sample.labels} <= LABELS


def test_names_are_unique_and_in_prometheus_style() -> None:
    found = names()
    assert len(found) == len(set(found))
    for family in exposed():
        assert re.fullmatch(r"keda_jobs_[a-z0-9_]+", family.name)
        assert not re.search(r"_(total|count|sum|bucket|created)$", family.name)
        # Base units, at the end.
        words = family.name.split("_")
        assert not {"ms", "milliseconds", "minutes", "hours", "kb", "mb", "percent"} & set(words)
        assert not {"seconds", "bytes"} & set(words[:-1])
