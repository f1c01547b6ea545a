"""Files that a command writes from something else in the repository, and the check that they are up to date."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from environments import BadEnvironment
from stack.process import StackError


class SourceError(Exception):
    """A file cannot be made from its source. The message names both, one line for each mistake."""


@dataclass(frozen=True, slots=True)
class GeneratedFile:
    """File as it should be."""

    path: Path
    text: str

    @property
    def is_stale(self) -> bool:
        """True for a file that differs or is missing."""
        return not self.path.is_file() or self.path.read_text() != self.text

    def write(self) -> None:
        """Write the file, with its folders."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(self.text)


def with_table(path: Path, place: str, rows: str, root: Path) -> GeneratedFile:
    """Put `rows` between the two lines of the document at `path` that name `place`. Raises `SourceError`."""
    text = path.read_text() if path.is_file() else ""
    start, end = f"<!-- {place}:start -->", f"<!-- {place}:end -->"
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise SourceError(f"{path.relative_to(root)} has no place for the {place}: add the lines {start} and {end}")
    return GeneratedFile(path, f"{before}{start}\n{rows}\n{end}{after}")


def run(
    files: Iterable[GeneratedFile], command: str, description: str | None, arguments: list[str] | None, root: Path
) -> int:
    """Write the stale files, or with `--check` name them and `command`. Return 1 for a stale file, 2 for a mistake."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is stale")
    check: bool = parser.parse_args(arguments).check
    try:
        stale = [file for file in files if file.is_stale]
    except (SourceError, BadEnvironment, StackError) as error:
        print(error, file=sys.stderr)
        return 2
    for file in stale:
        name = file.path.relative_to(root)
        if check:
            print(f"{name} is stale; run `{command}`", file=sys.stderr)
        else:
            file.write()
            print(f"{name}: written")
    return 1 if check and stale else 0
