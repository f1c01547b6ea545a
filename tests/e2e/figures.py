"""What the tests measured, kept in the report folder: JSON with the curve, and one text with the figures of all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from .curve import Curve

Figures = Mapping[str, float | str]


def record(report: Path, name: str, figures: Figures, curve: Curve) -> None:
    """Write `<name>.json` and bring `summary.txt` up to date; the figures are printed too."""
    samples = [asdict(sample) for sample in curve.samples]
    (report / f"{name}.json").write_text(json.dumps({"figures": figures, "samples": samples}, indent=1))
    print(_text(name, figures))
    kept = {path.stem: json.loads(path.read_text()) for path in sorted(report.glob("*.json"))}
    texts = [_text(one, found["figures"]) for one, found in kept.items() if "figures" in found]
    (report / "summary.txt").write_text("\n".join(texts))


def _text(name: str, figures: Figures) -> str:
    lines = (f"  {what:<58} {value:>8}" for what, value in figures.items())
    return "\n".join([f"{name}:", *lines, ""])
