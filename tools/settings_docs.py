"""Settings tables in the jobs' READMEs: write them, or check that they are up to date.

A table is between `<!-- settings:start -->` and `<!-- settings:end -->` and comes from the settings class of the job's
`JOB`: its own settings first, then those of its base classes, in their order.
"""

from __future__ import annotations

import inspect
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ByteSize, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from generated_files import GeneratedFile, SourceError, run, with_table
from stack.jobs import ROOT, all_jobs

PLACE = "settings"
NOTHING = "–"
# Words for defaults that a function computes at the start of a process.
COMPUTED_DEFAULTS = {socket.gethostname: "host name"}


def pages(root: Path = ROOT) -> Iterator[GeneratedFile]:
    """Yield the README of every job. Raises `SourceError`."""
    for job in all_jobs(root):
        yield with_table(root / "jobs" / job.name / "README.md", PLACE, table(job.settings), root)


def table(settings: type[BaseSettings]) -> str:
    """Build the Markdown table of `settings`. Raises `SourceError` for a setting without a description."""
    own_first = sorted(settings.model_fields.items(), key=lambda item: _generality(settings, item[0]))
    rows = (
        f"| `{name.upper()}` | {_default(settings, name, field)} | {_meaning(settings, name, field)} |"
        for name, field in own_first
    )
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _generality(settings: type[BaseSettings], name: str) -> int:
    """Count the classes below the one that declares the setting."""
    return next(steps for steps, kind in enumerate(settings.__mro__) if name in inspect.get_annotations(kind))


def _default(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _computed_default(settings, name, field.default_factory)
    value = field.default
    if field.is_required() or value in (None, "") or isinstance(value, SecretStr):
        return NOTHING
    if name.endswith("_s"):
        return f"{_number(value)} s"
    if isinstance(value, ByteSize):
        return value.human_readable(separator=" ").replace(".0 ", " ")
    return _number(value) if isinstance(value, int | float) else f"`{value}`"


def _computed_default(settings: type[BaseSettings], name: str, factory: Callable[..., Any]) -> str:
    if factory not in COMPUTED_DEFAULTS:
        raise SourceError(
            f"{settings.__module__}: the default of {name} has no words in COMPUTED_DEFAULTS of settings_docs"
        )
    return COMPUTED_DEFAULTS[factory]


def _number(value: float) -> str:
    return f"{value:,.15g}".replace(",", "_") if value >= 1_000_000 else f"{value:.15g}"


def _meaning(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if not field.description:
        raise SourceError(f"{settings.__module__}: {name} has no description")
    return field.description.replace("|", r"\|")


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the settings tables of all jobs, and return the exit code."""
    return run(pages(root), "make settings-docs", __doc__, arguments, root)


if __name__ == "__main__":
    sys.exit(main())
