"""Settings tables in the jobs' READMEs: write them, or check that they are up to date.

A table is between `<!-- settings:start -->` and `<!-- settings:end -->` and comes from the settings class of the job's
`JOB`: its own settings first, then those of its base classes, in their order.
"""

from __future__ import annotations

import argparse
import inspect
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ByteSize, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from stack.jobs import ROOT, all_jobs
from stack.process import StackError

PLACE = "settings"
NOTHING = "–"
# Words for defaults that a function computes at the start of a process.
COMPUTED_DEFAULTS = {socket.gethostname: "host name"}


class DocsError(Exception):
    """A table cannot be made or has no place. The message is one line for a person."""


@dataclass(frozen=True, slots=True)
class Page:
    """Document with a table, as it is and as it should be."""

    path: Path
    present: str
    wanted: str


def pages(root: Path = ROOT) -> Iterator[Page]:
    """Yield the README of every job. Raises `DocsError`."""
    for job in all_jobs(root):
        yield page(root / "jobs" / job.name / "README.md", PLACE, table(job.settings), root)


def page(path: Path, place: str, rows: str, root: Path) -> Page:
    """Put `rows` between the two lines of the document at `path` that name `place`. Raises `DocsError`."""
    text = path.read_text() if path.is_file() else ""
    start, end = f"<!-- {place}:start -->", f"<!-- {place}:end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise DocsError(f"{path.relative_to(root)} has no place for the {place}: add the lines {start} and {end}")
    return Page(path, text, f"{before}{start}\n{rows}\n{end}{after}")


def table(settings: type[BaseSettings]) -> str:
    """Build the Markdown table of `settings`. Raises `DocsError` for a setting without a description."""
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
        raise DocsError(
            f"{settings.__module__}: the default of {name} has no words in COMPUTED_DEFAULTS of settings_docs"
        )
    return COMPUTED_DEFAULTS[factory]


def _number(value: float) -> str:
    return f"{value:,.15g}".replace(",", "_") if value >= 1_000_000 else f"{value:.15g}"


def _meaning(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if not field.description:
        raise DocsError(f"{settings.__module__}: {name} has no description")
    return field.description.replace("|", r"\|")


def run(documents: Iterator[Page], description: str, arguments: list[str] | None, root: Path) -> int:
    """Write the tables of the documents, or with `--check` name the outdated ones, and return the exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a table is out of date")
    check: bool = parser.parse_args(arguments).check
    try:
        stale = [document for document in documents if document.present != document.wanted]
    except (DocsError, StackError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    for document in stale:
        name = document.path.relative_to(root)
        if check:
            print(f"{name}: table out of date, run `make settings-docs`", file=sys.stderr)
        else:
            document.path.write_text(document.wanted)
            print(f"{name}: written")
    return 1 if check and stale else 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Write or check the settings tables of all jobs, and return the exit code."""
    return run(pages(root), (__doc__ or "").splitlines()[0], arguments, root)


if __name__ == "__main__":
    sys.exit(main())
