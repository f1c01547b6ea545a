"""Table and chart of a soak, for the terminal and for docs/measured.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generated_files import with_table
from stack.jobs import ROOT

from .load import PICTURES_A_SECOND, USERS_A_SECOND
from .samples import Sample, Use, is_flat, rises

PLACE = "soak"

_TITLES = {"memory": "private memory, MB", "descriptors": "open descriptors", "threads": "threads"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keda-jobs",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def table(samples: Sequence[Sample]) -> str:
    """Build the table: mean and rise of each process over the second half."""
    lines = [f"| process | {' | '.join(_TITLES.values())} |", "|---|--:|--:|--:|"]
    for process in samples[0].uses:
        cells = [f"{rise.mean:.0f} ({rise.rise:+.1f})" for rise in rises(samples, process).values()]
        lines.append(f"| {process} | {' | '.join(cells)} |")
    return "\n".join(lines)


def failures(samples: Sequence[Sample]) -> list[str]:
    """Say in a line for each use that is not flat by how much it rises."""
    return [
        f"{process}: {_TITLES[field]} rose by {rise.rise:.1f} over the second half, to a mean of {rise.mean:.1f}"
        for process in samples[0].uses
        for field, rise in rises(samples, process).items()
        if not is_flat(field, rise)
    ]


def write_report(samples: Sequence[Sample], root: Path = ROOT) -> None:
    """Write table and chart into docs/. Raises `SourceError`."""
    minutes = samples[-1].at_s / 60
    load = f"{minutes:.0f} minutes, {PICTURES_A_SECOND} pictures and {USERS_A_SECOND} users a second."
    file = with_table(root / "docs" / "measured.md", PLACE, f"{load}\n\n{table(samples)}", root)
    file.path.write_text(file.text)
    draw(samples, root / "docs" / "soak.svg")


def draw(samples: Sequence[Sample], file: Path) -> None:
    """Draw a panel for each field of `Use`, with a line for each process."""
    import matplotlib as mpl  # only `make soak` installs it
    from matplotlib import pyplot as plt

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(1, len(Use._fields), figsize=(11, 3.4))
        for axis, field in zip(axes, Use._fields, strict=True):
            for process in samples[0].uses:
                points = [(sample.at_s / 60, getattr(sample.uses[process], field)) for sample in samples]
                axis.plot(*zip(*points, strict=True), label=process, linewidth=1)
            axis.set_title(_TITLES[field], loc="left", fontweight="bold")
            axis.set(xlabel="minutes", ylim=(0, None), xlim=(0, None))
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(samples[0].uses), frameon=False
        )
        figure.tight_layout(rect=(0, 0.08, 1, 1))
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        plt.close(figure)
