"""Dashboards as JSON files with a stable order of keys, so that diffs are readable, and the links of alerts."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.batch import batch
from dashboards.one_job import one_job
from dashboards.overview import overview
from dashboards.page import with_links
from prometheus_rules import RULES

FOLDER = Path(__file__).resolve().parents[2] / "k8s" / "monitoring" / "dashboards"


def files() -> dict[str, str]:
    """Return the text of each dashboard by file name."""
    return {"overview.json": _text(overview()), "one-job.json": _text(one_job()), "batch.json": _text(batch())}


def stale(folder: Path, rules: Path = RULES) -> dict[Path, str | None]:
    """Return the expected text of each file that differs, or None for a file that should not exist."""
    expected: dict[Path, str | None] = dict.fromkeys(folder.glob("*.json"))
    expected |= {folder / name: text for name, text in files().items()}
    expected |= {path: with_links(path.read_text()) for path in rules.glob("*.yaml")}
    return {path: text for path, text in expected.items() if not path.is_file() or path.read_text() != text}


def _text(dashboard: Dashboard) -> str:
    """Encode the dashboard with panel numbers. Grafana would number them at each load, which breaks links."""
    built = dashboard.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
