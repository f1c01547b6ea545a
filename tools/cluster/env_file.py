"""Credentials of an environment, such as `k8s/.env`: literal lines KEY=VALUE.

No shell reads it, so `$`, quotes and backticks have no meaning.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import environments
from cluster.errors import ClusterError
from environments import ROOT

_LINE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)")
# A value of k8s/.env.template that is to be filled in.
_PLACEHOLDER = re.compile(r"<[a-z][a-z -]*>")


def path() -> Path:
    """Return the file that `ENV_FILE` names, else that of the environment."""
    return Path(os.environ.get("ENV_FILE") or environments.current().env_file)


def shown(file: Path) -> str:
    """Return the path of `file` relative to the repository, if it is inside."""
    return str(file.relative_to(ROOT)) if file.is_relative_to(ROOT) else str(file)


def parse(text: str, name: str) -> dict[str, str]:
    """Parse the variables in `text`, without blanks or quotes around a value. Raises `ClusterError`."""
    values: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:  # the line itself may contain a secret
            raise ClusterError(f"{name}, line {number}: not of the form KEY=VALUE")
        values[found[1]] = _unquoted(found[2].strip())
    return values


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    return value[1:-1] if is_quoted else value


def values() -> dict[str, str]:
    """Return the variables of the file, and those of the environment that the file lacks. Raises `ClusterError`."""
    file = path()
    try:
        text = file.read_text(encoding="utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ClusterError(f"{shown(file)} cannot be read: {error}") from error
    return {**os.environ, **parse(text, shown(file))}


def faults(found: dict[str, str], needed: set[str]) -> list[str]:
    """List what is wrong with the variables `needed`, by name and without their values."""
    lines = []
    for name in sorted(needed):
        value = found.get(name, "")
        if not value:
            lines.append(f"{name} is not set")
        elif _PLACEHOLDER.search(value):
            lines.append(f"{name} is still the placeholder")
    return lines


def is_open_to_others() -> bool:
    """Return whether anyone but its owner may read the file."""
    return path().exists() and bool(path().stat().st_mode & 0o077)
