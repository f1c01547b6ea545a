"""Tables of the keys of job.toml, for docs/job-toml.md."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from generated_files import GeneratedFile, SourceError, with_table
from job_files.job_toml import KINDS

_NOTHING = "–"


def page(root: Path) -> GeneratedFile:
    """Put the table into the document. Raises `SourceError`."""
    return with_table(root / "docs" / "job-toml.md", "job.toml", table(), root)


def table() -> str:
    """Build the Markdown table of the keys, with the kinds of jobs that have each. Raises `SourceError`."""
    kinds: dict[tuple[str, str, str], list[str]] = {}
    for kind, model in KINDS.items():
        for row in _rows(model):
            kinds.setdefault(row, []).append(kind)
    rows = (
        f"| `{key}` | {', '.join(having) if len(having) < len(KINDS) else 'all'} | {default} | {meaning} |"
        for (key, default, meaning), having in sorted(kinds.items())
    )
    return "\n".join(["| key | kind | default | meaning |", "|---|---|---|---|", *rows])


def _rows(model: type[BaseModel], within: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        key = f"{within}{name}"
        if table := _table_of(field.annotation):
            yield from _rows(table, f"{key}.")
        elif not field.description:
            raise SourceError(f"job.toml: {key} has no description")
        else:
            yield key, _default(field), field.description


def _table_of(annotation: Any) -> type[BaseModel] | None:
    """Return the keys of a table, or of each table of a list."""
    [*_, kind] = get_args(annotation) or [annotation]
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return _NOTHING
    match field.get_default(call_default_factory=True):
        case bool(value):
            return f"`{str(value).lower()}`"
        case int(value):
            return str(value)
        case _:
            return _NOTHING
