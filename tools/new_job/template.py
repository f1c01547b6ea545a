"""Files of a job, from `template/common` and `template/<kind>`.

Words such as `<job>` and `<package>` are replaced. A folder `package` gets the package's name.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

from new_job.kinds import Plan

_FOLDER = Path(__file__).parent / "template"
_SUFFIX = ".tpl"
_WORD = re.compile(r"<([A-Za-z]+)>")


def files(plan: Plan) -> dict[str, str]:
    """Return the text of each file by its path in the job's folder."""
    words = plan.words()
    return {
        _path(file, plan): _fill(file, words)
        for folder in ("common", plan.kind)
        for file in sorted((_FOLDER / folder).rglob(f"*{_SUFFIX}"))
    }


def write_files(plan: Plan, folder: Path) -> None:
    """Write the files into the job's folder."""
    for path, text in files(plan).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def _path(file: Path, plan: Plan) -> str:
    _kind, *parts = file.relative_to(_FOLDER).parts
    return "/".join(plan.package if part == "package" else part for part in parts).removesuffix(_SUFFIX)


def _fill(file: Path, words: dict[str, str]) -> str:
    text = _WORD.sub(lambda word: words[word[1]], file.read_text())
    return _with_sorted_imports(text) if f".py{_SUFFIX}" in file.name else text


def _with_sorted_imports(text: str) -> str:
    """Sort the imports: the place of the package among them depends on its name."""
    blocks = groupby(text.splitlines(keepends=True), lambda line: line.startswith("from "))
    return "".join("".join(sorted(lines) if are_imports else lines) for are_imports, lines in blocks)
