"""Figures of the tests in the report folder: a JSON file for each curve, and one text with the figures of all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .curve import Curve

Figures = Mapping[str, float | str]


@dataclass(frozen=True, slots=True)
class Line:
    """Number of pods from each moment (seconds) on."""

    name: str
    colour: str
    points: Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Span:
    """Time in which something lasts."""

    from_s: float
    to_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Moment:
    """Moment at which something happens."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram, which plot.py draws."""

    title: str
    lines: Sequence[Line]
    spans: Sequence[Span] = ()
    moments: Sequence[Moment] = ()


def record(report: Path, name: str, figures: Figures, curve: Curve | None = None, panels: Sequence[Panel] = ()) -> None:
    """Write `<name>.json`, update `summary.txt` and print the figures."""
    content = {
        "figures": figures,
        "panels": [asdict(panel) for panel in panels],
        "samples": [asdict(sample) for sample in curve.samples] if curve else [],
    }
    (report / f"{name}.json").write_text(json.dumps(content, indent=1))
    print(_text(name, figures))
    kept = {path.stem: json.loads(path.read_text()) for path in sorted(report.glob("*.json"))}
    texts = [_text(one, found["figures"]) for one, found in kept.items() if "figures" in found]
    (report / "summary.txt").write_text("\n".join(texts))


def _text(name: str, figures: Figures) -> str:
    lines = (f"  {what:<58} {value:>8}" for what, value in figures.items())
    return "\n".join([f"{name}:", *lines, ""])
