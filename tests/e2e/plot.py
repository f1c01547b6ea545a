"""Pods over time as an SVG: panels side by side with the same axes, small enough to be read and compared as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 800, 300
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 40, 16, 50, 44, 44
# Above the highest line: what the bands and marks say, and what the axis counts.
_TEXTS = 56
_INK, _PALE, _BAND = "#24292f", "#d0d7de", "#eff2f5"
_FONT = 'font-family="-apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12"'
_LETTER = 7
_MOST_TICKS = 8
_STEPS_S = (10, 20, 30, 60, 120, 300)


@dataclass(frozen=True, slots=True)
class Line:
    """How many pods there were from each moment (seconds) on."""

    name: str
    colour: str
    points: Sequence[tuple[float, int]]


@dataclass(frozen=True, slots=True)
class Band:
    """A time in which something lasts."""

    from_s: float
    to_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment."""

    at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: what is drawn, and what is written over it."""

    title: str
    lines: Sequence[Line]
    bands: Sequence[Band] = ()
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where a panel's seconds and pods are in the picture, in its pixels."""

    left: float
    width: float
    last_s: float
    most: int

    @property
    def bottom(self) -> float:
        return _HEIGHT - _BOTTOM

    def x(self, at_s: float) -> float:
        return round(self.left + self.width * min(max(at_s, 0), self.last_s) / self.last_s, 1)

    def y(self, pods: float) -> float:
        return round(self.bottom - (self.bottom - _TOP - _TEXTS) * pods / self.most, 1)


def draw(panels: Sequence[Panel]) -> str:
    """The picture of `panels`, 800 pixels wide."""
    lines = [line for panel in panels for line in panel.lines]
    last_s = max(line.points[-1][0] for line in lines)
    most = max(count for line in lines for _, count in line.points)
    width = (_WIDTH - _LEFT - _RIGHT - _GAP * (len(panels) - 1)) / len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" {_FONT}>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, _Axes(_LEFT + number * (width + _GAP), width, last_s, most))
    return "\n".join([*parts, "</svg>\n"])


def _panel(panel: Panel, axes: _Axes) -> Iterator[str]:
    yield _text(axes.left, 18, panel.title, size=14, weight="bold")
    at = axes.left
    for line in panel.lines:
        yield _text(at, 38, line.name, line.colour)
        at += _LETTER * len(line.name) + 16
    for band in panel.bands:
        yield from _band(band, axes)
    yield from _grid(axes)
    for line in panel.lines:
        yield from _line(line, axes)
    for row, mark in enumerate(panel.marks, start=len(panel.bands)):
        yield from _mark(mark, row, axes)


def _grid(axes: _Axes) -> Iterator[str]:
    for pods in range(0, axes.most + 1, 1 + axes.most // _MOST_TICKS):
        y = axes.y(pods)
        yield _stroke(axes.x(0), y, axes.x(axes.last_s), y, _PALE if pods else _INK)
        yield _text(axes.left - 8, y + 4, str(pods), anchor="end")
    step_s = next((step for step in _STEPS_S if axes.last_s / step < _MOST_TICKS), _STEPS_S[-1])
    for second in range(0, int(axes.last_s) + 1, step_s):
        x = axes.x(second)
        yield _stroke(x, axes.bottom, x, axes.bottom + 4, _INK)
        yield _text(x, axes.bottom + 18, str(second), anchor="middle")
    yield _text(axes.left + axes.width / 2, _HEIGHT - 8, "seconds after publishing", anchor="middle")
    yield _text(axes.left - 4, axes.y(axes.most) - 9, "pods running", size=11)


def _band(band: Band, axes: _Axes) -> Iterator[str]:
    left, right = axes.x(band.from_s), axes.x(band.to_s)
    yield f'<rect x="{left}" y="{_TOP}" width="{right - left:.1f}" height="{axes.bottom - _TOP}" fill="{_BAND}"/>'
    yield _text((left + right) / 2, _TOP + 15, band.text, anchor="middle")


def _mark(mark: Mark, row: int, axes: _Axes) -> Iterator[str]:
    x, top = axes.x(mark.at_s), _TOP + 17 * row
    is_late = x + _LETTER * len(mark.text) > axes.x(axes.last_s)
    yield _stroke(x, top, x, axes.bottom, _INK, dashes="4 3")
    yield _text(x + (-5 if is_late else 5), top + 15, mark.text, anchor="end" if is_late else "start")


def _line(line: Line, axes: _Axes) -> Iterator[str]:
    path, before = [f"M{axes.x(0)} {axes.y(0)}"], 0
    for at_s, pods in line.points:
        if pods != before:
            path.append(f"H{axes.x(at_s)}V{axes.y(pods)}")
            before = pods
    steps = "".join([*path, f"H{axes.x(line.points[-1][0])}"])
    yield f'<path d="{steps}V{axes.y(0)}Z" fill="{line.colour}" fill-opacity="0.15"/>'
    yield f'<path d="{steps}" fill="none" stroke="{line.colour}" stroke-width="2"/>'


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{colour}" stroke-dasharray="{dashes}"/>'


def _text(
    x: float, y: float, text: str, colour: str = _INK, *, anchor: str = "start", size: int = 12, weight: str = "normal"
) -> str:
    style = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="{colour}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
