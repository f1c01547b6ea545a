"""`k8s/.env`: lines KEY=VALUE, taken literally. No shell ever reads it, so `$`, quotes and backticks mean nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cluster.errors import ClusterError
from stack.jobs import ROOT

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
# What stands in k8s/.env.template for a value to be filled in.
_PLACEHOLDER = re.compile(r"<[a-z][a-z -]*>")


def path() -> Path:
    """The file that `ENV_FILE` names, else `k8s/.env`."""
    return Path(os.environ.get("ENV_FILE") or ROOT / "k8s/.env")


def shown(file: Path) -> str:
    """`file` as a person would write it."""
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def parse(text: str, name: str) -> dict[str, str]:
    """The variables in `text`, without blanks or a pair of quotes around a value. Raises `ClusterError`."""
    values: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:  # the line itself may be part of a secret
            raise ClusterError(f"{name}, line {number}: not of the form KEY=VALUE")
        values[found[1]] = _unquoted(found[2].strip())
    return values


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value


def values() -> dict[str, str]:
    """The variables of the file, and of the environment those which it lacks. Raises `ClusterError`."""
    file = path()
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"{shown(file)} cannot be read: {error}") from error
    return {**os.environ, **parse(text, shown(file))}


def faults(found: dict[str, str], needed: set[str]) -> list[str]:
    """What is wrong with the variables `needed`, by name; their values are not shown."""
    lines = []
    for name in sorted(needed):
        value = found.get(name, "")
        if not value:
            lines.append(f"{name} is not set")
        elif _PLACEHOLDER.search(value):
            lines.append(f"{name} is still the placeholder")
    return lines


def is_open_to_others() -> bool:
    """Whether anyone but its owner may read the file."""
    return path().exists() and bool(path().stat().st_mode & 0o077)
