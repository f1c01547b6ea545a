"""Writes each job's settings table into its README, or tells which tables are out of date.

The table stands between `<!-- settings:start -->` and `<!-- settings:end -->` and comes from the job's class
`<package>.settings.Settings`: its own settings first, then those of its base classes, in their order.
"""

from __future__ import annotations

import argparse
import importlib
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

ROOT = Path(__file__).resolve().parent.parent
PLACE = "settings"
NOTHING = "–"
# Defaults that are found at the start of a process, by the function that finds them.
FOUND_AT_START = {socket.gethostname: "host name"}


class DocsError(Exception):
    """A table cannot be made or has no place; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Page:
    """A document with a table in it, as it is and as it should be."""

    path: Path
    present: str
    wanted: str


def pages(root: Path = ROOT) -> Iterator[Page]:
    """The README of every job that has settings. Raises `DocsError`."""
    for job in sorted(path.parent for path in root.glob("jobs/*/src")):
        package = job.name.replace("-", "_")
        if (job / "src" / package / "settings.py").is_file():
            readme = job / "README.md"
            yield page(readme, PLACE, table(_settings(job, package)), root)


def page(path: Path, place: str, rows: str, root: Path) -> Page:
    """The document at `path` with `rows` between the two lines that name `place`. Raises `DocsError`."""
    text = path.read_text() if path.is_file() else ""
    start, end = f"<!-- {place}:start -->", f"<!-- {place}:end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise DocsError(f"{path.relative_to(root)} has no place for the {place}: add the lines {start} and {end}")
    return Page(path, text, f"{before}{start}\n{rows}\n{end}{after}")


def table(settings: type[BaseSettings]) -> str:
    """The Markdown table of `settings`. Raises `DocsError` for one that does not say what it means."""
    own_first = sorted(settings.model_fields.items(), key=lambda item: _generality(settings, item[0]))
    rows = (
        f"| `{name.upper()}` | {_default(settings, name, field)} | {_meaning(settings, name, field)} |"
        for name, field in own_first
    )
    return "\n".join(["| variable | default | meaning |", "|---|---|---|", *rows])


def _settings(job: Path, package: str) -> type[BaseSettings]:
    sys.path.insert(0, str(job / "src"))
    try:
        settings: type[BaseSettings] = importlib.import_module(f"{package}.settings").Settings
    finally:
        sys.path.remove(str(job / "src"))
    return settings


def _generality(settings: type[BaseSettings], name: str) -> int:
    """How far up the class is that declares it."""
    return next(steps for steps, kind in enumerate(settings.__mro__) if name in inspect.get_annotations(kind))


def _default(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _found(settings, name, field.default_factory)
    value = field.default
    if field.is_required() or value in (None, "") or isinstance(value, SecretStr):
        return NOTHING
    if name.endswith("_s"):
        return f"{_number(value)} s"
    if isinstance(value, ByteSize):
        return value.human_readable(separator=" ").replace(".0 ", " ")
    return _number(value) if isinstance(value, int | float) else f"`{value}`"


def _found(settings: type[BaseSettings], name: str, factory: Callable[..., Any]) -> str:
    if factory not in FOUND_AT_START:
        raise DocsError(f"{settings.__module__}: the default of {name} has no words in FOUND_AT_START of settings_docs")
    return FOUND_AT_START[factory]


def _number(value: float) -> str:
    return f"{value:,.15g}".replace(",", "_") if value >= 1_000_000 else f"{value:.15g}"


def _meaning(settings: type[BaseSettings], name: str, field: FieldInfo) -> str:
    if not field.description:
        raise DocsError(f"{settings.__module__}: {name} has no description")
    return field.description.replace("|", r"\|")


def run(documents: Iterator[Page], description: str, arguments: list[str] | None, root: Path) -> int:
    """The command line: write the tables of the pages, or with `--check` say which are out of date; the exit code."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a table is out of date")
    check: bool = parser.parse_args(arguments).check
    try:
        stale = [document for document in documents if document.present != document.wanted]
    except DocsError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    for document in stale:
        name = document.path.relative_to(root)
        if check:
            print(f"{name}: its table is out of date: run `make settings-docs`", file=sys.stderr)
        else:
            document.path.write_text(document.wanted)
            print(f"{name}: written")
    return 1 if check and stale else 0


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The settings tables of all jobs."""
    return run(pages(root), (__doc__ or "").splitlines()[0], arguments, root)


if __name__ == "__main__":
    sys.exit(main())
