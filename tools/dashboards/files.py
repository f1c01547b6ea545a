"""The dashboards as files of JSON with a stable order of keys, so that a change shows in a diff."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.batch import batch
from dashboards.one_job import one_job
from dashboards.overview import overview

FOLDER = Path(__file__).resolve().parents[2] / "k8s" / "monitoring" / "dashboards"


def files() -> dict[str, str]:
    """The text of each dashboard by the name of its file."""
    return {"overview.json": _text(overview()), "one-job.json": _text(one_job()), "batch.json": _text(batch())}


def stale(folder: Path) -> dict[Path, str | None]:
    """The files of `folder` that are not as the code has them, and their right text; None for one too many."""
    wanted: dict[Path, str | None] = dict.fromkeys(folder.glob("*.json"))
    wanted |= {folder / name: text for name, text in files().items()}
    return {path: text for path, text in wanted.items() if not path.is_file() or path.read_text() != text}


def _text(dashboard: Dashboard) -> str:
    """Panels get their numbers here: Grafana would number them at each load, and links to a panel would break."""
    built = dashboard.build()
    for number, panel in enumerate(built.panels or [], start=1):
        panel.id_val = number
    return json.dumps(built, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
