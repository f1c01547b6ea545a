"""Draw the curves of pods over time: `python plot.py FOLDER` makes an SVG of each JSON file there that has panels."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from charts import GRID, INK, SPAN, STYLE, SVG
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.ticker import MaxNLocator

_WIDTH_IN, _HEIGHT_IN = 8.0, 3.2

# Above the lines: where the texts stand, as parts of the height.
_HEADROOM, _UPPER, _LOWER = 1.3, 0.95, 0.86
_COLOURED_NAMES: dict[str, Any] = {
    "frameon": False,
    "labelcolor": "linecolor",
    "handlelength": 0,
    "handletextpad": 0,
    "borderpad": 0,
}

Panel = dict[str, Any]


def draw(panels: list[Panel], file: Path) -> None:
    """Draw the panels side by side with the same axes."""
    with mpl.rc_context(STYLE):
        size = (_WIDTH_IN, _HEIGHT_IN)
        figure, axes = plt.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False, figsize=size)
        for axis, panel in zip(axes[0], panels, strict=True):
            _draw_panel(axis, panel)
        most = max(pods for panel in panels for line in panel["lines"] for _, pods in line["points"])
        axes[0][0].set_ylim(0, most * _HEADROOM)
        figure.tight_layout()
        figure.savefig(file, **SVG)
        plt.close(figure)


def _draw_panel(axis: Axes, panel: Panel) -> None:
    axis.set_title(panel["title"], loc="left", fontweight="bold", pad=24)
    for line in panel["lines"]:
        seconds, pods = zip(*line["points"], strict=True)
        axis.step(seconds, pods, where="post", color=line["colour"], label=line["name"])
        axis.fill_between(seconds, pods, step="post", facecolor=to_rgba(line["colour"], 0.15))
    for span in panel["spans"]:
        axis.axvspan(span["from_s"], span["to_s"], color=SPAN, zorder=0)
        axis.text((span["from_s"] + span["to_s"]) / 2, _UPPER, span["text"], ha="center", **_text_at_top(axis))
    for height, moment in zip((_LOWER, _UPPER), panel["moments"], strict=False):
        axis.axvline(moment["at_s"], 0, height + 0.05, color=INK, linestyle="--", linewidth=1)
        axis.text(moment["at_s"] + 1, height, moment["text"], ha="left", **_text_at_top(axis))
    legend = axis.legend(loc="lower left", bbox_to_anchor=(0, 0.99), ncols=2, columnspacing=1, **_COLOURED_NAMES)
    legend.set_in_layout(False)
    axis.set(xlabel="seconds after publishing", ylabel="pods running", xlim=(0, None))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.yaxis.set_tick_params(labelleft=True)
    axis.grid(axis="y", color=GRID)
    axis.set_axisbelow(True)


def _text_at_top(axis: Axes) -> dict[str, Any]:
    return {"transform": axis.get_xaxis_transform(), "va": "center"}


def main() -> None:
    """Draw every file of the folder that the first argument names."""
    for file in sorted(Path(sys.argv[1]).glob("*.json")):
        if panels := json.loads(file.read_text()).get("panels"):
            draw(panels, file.with_suffix(".svg"))
            print(file.with_suffix(".svg"))


if __name__ == "__main__":
    main()
