"""Tables of metrics in docs/observability.md: write them, or check that they are up to date.

They are between `<!-- metrics:start -->` and `<!-- metrics:end -->` and come from the registries of `SOURCES`, with
the labels of their samples: each metric needs one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric

from exporter import metrics as exporter
from generated_files import GeneratedFile, SourceError, run, with_table
from keda_jobs.batch.metrics import BatchMetrics
from keda_jobs.domain.policy import Dead
from keda_jobs.event.metrics import EventMetrics
from keda_jobs.runtime.metrics import StoreMetrics
from keda_jobs.settings import JobSettings
from settings_docs import NOTHING
from stack.jobs import ROOT

PLACE = "metrics"
# By the end of a name, the longer one first.
_UNITS = {"_timestamp_seconds": "Unix time, s", "_seconds": "s", "_bytes": "bytes"}


def _event_jobs() -> CollectorRegistry:
    metrics = EventMetrics("job", JobSettings())
    StoreMetrics(metrics.registry)
    metrics.record_settled(Dead("reason", "AnErrorClass"), Dead.outcome, 0)
    return metrics.registry


def _exporter() -> CollectorRegistry:
    collector = exporter.SampleCollector()
    collector.replace(exporter.Sample(name, 0, labels) for name, _, labels in (*exporter.GAUGES, *exporter.COUNTERS))
    return collector.registry


SOURCES: list[tuple[str, CollectorRegistry]] = [
    ("Event jobs", _event_jobs()),
    ("Batch workers", BatchMetrics("job").registry),
    ("The exporter", _exporter()),
]


def pages(root: Path = ROOT) -> Iterator[GeneratedFile]:
    """Yield the document. Raises `SourceError`."""
    tables = "\n\n".join(f"### {title}\n\n{table(registry.collect())}" for title, registry in SOURCES)
    yield with_table(root / "docs" / "observability.md", PLACE, tables, root)


def table(families: Iterable[Metric]) -> str:
    """Build the Markdown table of `families`. Raises `SourceError` for one without a sample."""
    rows = (
        f"| `{_name(family)}` | {family.type} | {_labels(family)} | {_unit(family.name)} | {family.documentation} |"
        for family in families
    )
    return "\n".join(["| metric | type | labels | unit | meaning |", "|---|---|---|---|---|", *rows])


def _name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> str:
    """List the family's labels, and the values of a label with several values."""
    if not family.samples:
        raise SourceError(f"{family.name} has no sample, so its labels are unknown")
    values: dict[str, dict[str, None]] = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            values.setdefault(name, {})[value] = None
    values.pop("le", None)
    return ", ".join(_label(name, list(known)) for name, known in values.items()) or NOTHING


def _label(name: str, values: list[str]) -> str:
    return f"`{name}`" if len(values) == 1 else f"`{name}` ({', '.join(values)})"


def _unit(name: str) -> str:
    return next((unit for end, unit in _UNITS.items() if name.endswith(end)), NOTHING)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line and return the exit code."""
    return run(pages(root), "make settings-docs", __doc__, arguments, root)


if __name__ == "__main__":
    sys.exit(main())
