"""`keda-jobs events`: list the events of the jobs, from the JSON Schemas in their folders."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.text import Text

from keda_jobs.cli.options import JobsOption, JsonOption
from keda_jobs.cli.terminal import new_table, print_json, print_out, sanitize
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.declaration import find_jobs

_READS, _SENDS = "reads", "sends"


@dataclass(slots=True)
class _Field:
    type: str
    required_by: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Subject:
    sent_by: list[str] = field(default_factory=list)
    read_by: list[str] = field(default_factory=list)
    fields: dict[str, _Field] = field(default_factory=dict)


def events(jobs: JobsOption = None, as_json: JsonOption = False) -> None:
    """List the events: subject, who sends it, who reads it, and its fields.

    They come from jobs/*/events, which `make job-files` writes. Events that no job sends come from applications. A
    field with `?` may be left out: no job that reads the event requires it.

    JSON: `[{"subject", "sent_by", "read_by", "fields": [{"name", "type", "required_by"}]}]`.
    """
    subjects = _collect(jobs or find_jobs(Path.cwd()))
    if as_json:
        print_json([_as_json(name, subject) for name, subject in sorted(subjects.items())])
        return
    table = new_table("subject", "sent by", "read by", "fields")
    for name, subject in sorted(subjects.items()):
        columns = (
            [name],
            subject.sent_by or ["applications"],
            subject.read_by or ["-"],
            [_line(*item, subject) for item in subject.fields.items()],
        )
        table.add_row(*(Text("\n".join(map(sanitize, lines))) for lines in columns))
    print_out(table if subjects else Text("no job reads or sends an event; `make new-job` makes one that does"))


def _collect(jobs: Path) -> Mapping[str, _Subject]:
    """Read the schemas of all jobs, what is sent first. Raises `Misconfigured`."""
    subjects: defaultdict[str, _Subject] = defaultdict(_Subject)
    for role in (_SENDS, _READS):
        for file in sorted(jobs.glob(f"*/events/{role}/*.json")):
            job, subject = file.parts[-4], subjects[file.stem]
            (subject.sent_by if role == _SENDS else subject.read_by).append(job)
            for name, type_, is_required in _fields(file):
                found = subject.fields.setdefault(name, _Field(type_))
                if is_required and role == _READS:
                    found.required_by.append(job)
    return subjects


def _fields(file: Path) -> Iterator[tuple[str, str, bool]]:
    """Yield name, type and whether it is required of each field. Raises `Misconfigured`."""
    try:
        schema = json.loads(file.read_text())
        for name, one in schema.get("properties", {}).items():
            yield name, _type(one, schema.get("$defs", {})), name in schema.get("required", ())
    except (OSError, ValueError, AttributeError, TypeError, LookupError) as error:
        raise Misconfigured(f"{file} is no JSON Schema of an event ({error}); run `make job-files`") from error


def _type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the type of a field in a few words, such as `string or null` and `array of integer`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        inner = definitions[name]
        return name if "properties" in inner else _type(inner, definitions)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(choice, definitions) for choice in schema["anyOf"]))
    if values := schema.get("enum", [schema["const"]] if "const" in schema else None):
        return " or ".join(json.dumps(value) for value in values)
    if schema.get("type") == "array":
        return f"array of {_type(schema.get('items', {}), definitions)}"
    return str(schema.get("format") or schema.get("type", "anything"))


def _line(name: str, found: _Field, subject: _Subject) -> str:
    may_be_left_out = subject.read_by and not found.required_by
    return f"{name}{'?' if may_be_left_out else ''}: {found.type}"


def _as_json(name: str, subject: _Subject) -> dict[str, Any]:
    return {
        "subject": name,
        "sent_by": subject.sent_by,
        "read_by": subject.read_by,
        "fields": [
            {"name": one, "type": found.type, "required_by": found.required_by} for one, found in subject.fields.items()
        ],
    }
