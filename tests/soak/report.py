"""Table and chart of a soak, for the terminal and for docs/measured.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from charts import SPAN, STYLE, SVG

from generated_files import with_table
from stack.jobs import ROOT

from .levels import WARM_UP, is_rising, levels
from .load import PICTURES_A_SECOND, USERS_A_SECOND
from .samples import Sample, Use

PLACE = "soak"

_TITLES = {"memory": "private memory, MB", "descriptors": "open descriptors", "threads": "threads"}


def table(samples: Sequence[Sample]) -> str:
    """Build the table: the three levels of each use of each process."""
    lines = [f"| process | {' | '.join(_TITLES.values())} |", "|---|--:|--:|--:|"]
    for process in samples[0].uses:
        cells = [_arrows(samples, process, field) for field in Use._fields]
        lines.append(f"| {process} | {' | '.join(cells)} |")
    return "\n".join(lines)


def failures(samples: Sequence[Sample]) -> list[str]:
    """Describe in a line each use that rises."""
    return [
        f"{process}: {_TITLES[field]} keeps rising: {_arrows(samples, process, field)}"
        for process in samples[0].uses
        for field in Use._fields
        if is_rising(field, levels(samples, process, field))
    ]


def _arrows(samples: Sequence[Sample], process: str, field: str) -> str:
    return " → ".join(f"{level:.0f}" for level in levels(samples, process, field))


def write_report(samples: Sequence[Sample], root: Path = ROOT) -> None:
    """Write table and chart into docs/. Raises `SourceError`."""
    minutes = samples[-1].at_s / 60
    load = f"{minutes:.0f} minutes, {PICTURES_A_SECOND} pictures and {USERS_A_SECOND} users a second."
    file = with_table(root / "docs" / "measured.md", PLACE, f"{load}\n\n{table(samples)}", root)
    file.path.write_text(file.text)
    draw(samples, root / "docs" / "soak.svg")


def draw(samples: Sequence[Sample], file: Path) -> None:
    """Draw a panel for each field of `Use`, with a line for each process, and the warm-up in grey."""
    import matplotlib as mpl  # only `make soak` installs it
    from matplotlib import pyplot as plt

    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(Use._fields), figsize=(11, 3.4))
        for axis, field in zip(axes, Use._fields, strict=True):
            for process in samples[0].uses:
                points = [(sample.at_s / 60, getattr(sample.uses[process], field)) for sample in samples]
                axis.plot(*zip(*points, strict=True), label=process, linewidth=1)
            axis.axvspan(0, samples[-1].at_s / 60 * WARM_UP, color=SPAN, zorder=0)
            axis.set_title(_TITLES[field], loc="left", fontweight="bold")
            axis.set(xlabel="minutes", ylim=(0, None), xlim=(0, None))
        names = axes[0].get_legend_handles_labels()
        figure.legend(*names, loc="lower center", ncols=len(samples[0].uses), frameon=False)
        figure.tight_layout(rect=(0, 0.08, 1, 1))
        figure.savefig(file, **SVG)
        plt.close(figure)
