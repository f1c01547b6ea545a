"""`keda-jobs events`: the events of the jobs, from the schemas in their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stack.jobs import ROOT

from .conftest import Cli

NODE = {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}, "Colour": {"enum": ["red", 7]}}
FIELDS = {
    "number": ({"type": "integer"}, "integer"),
    "when": ({"type": "string", "format": "date-time"}, "date-time"),
    "maybe": ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
    "many": ({"type": "array", "items": {"type": "number"}}, "array of number"),
    "node": ({"$ref": "#/$defs/Node"}, "Node"),
    "colour": ({"$ref": "#/$defs/Colour"}, '"red" or 7'),
    "kind": ({"const": "a"}, '"a"'),
    "free": ({}, "anything"),
    "\x1b[2J": ({"type": "string"}, "string"),
}


def write(jobs: Path, job: str, role: str, subject: str, schema: object) -> Path:
    file = jobs / job / "events" / role / f"{subject}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(schema if isinstance(schema, str) else json.dumps(schema))
    return file


def events(cli: Cli, jobs: Path) -> list[dict[str, Any]]:
    done = cli("events", "--jobs", str(jobs), "--json")
    assert done.code == 0, done.stderr
    found: list[dict[str, Any]] = done.json
    return found


def test_it_says_who_sends_and_who_reads_an_event_of_the_repository(cli: Cli) -> None:
    by_subject = {event.pop("subject"): event for event in events(cli, ROOT / "jobs")}
    downloaded = by_subject["image-downloaded"]
    assert (downloaded["sent_by"], downloaded["read_by"]) == (["image-download"], ["image-resize"])
    assert {"name": "key", "type": "string", "required_by": ["image-resize"]} in downloaded["fields"]
    assert by_subject["image-download"]["sent_by"] == []


def test_types_are_described_in_a_few_words(cli: Cli, tmp_path: Path) -> None:
    schema = {"$defs": NODE, "properties": {name: field for name, (field, _) in FIELDS.items()}, "required": ["number"]}
    write(tmp_path, "reader", "reads", "a.b", schema)
    [event] = events(cli, tmp_path)
    assert (event["subject"], event["read_by"]) == ("a.b", ["reader"])
    assert {field["name"]: field["type"] for field in event["fields"]} == {
        name: text for name, (_, text) in FIELDS.items()
    }


def test_a_person_sees_which_fields_may_be_left_out_and_no_control_characters(cli: Cli, tmp_path: Path) -> None:
    schema = {"properties": {"number": {"type": "integer"}, "\x1b[2J": {"type": "string"}}, "required": ["number"]}
    write(tmp_path, "reader", "reads", "happened", schema)
    lines = cli("events", "--jobs", str(tmp_path)).stdout.splitlines()
    assert lines[2].split() == ["happened", "applications", "reader", "number:", "integer"]
    assert lines[3].split() == ["?[2J?:", "string"]


def test_without_events_it_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    assert cli("events", "--jobs", str(tmp_path)).stdout == (
        "no job reads or sends an event; `make new-job` makes one that does\n"
    )
    assert events(cli, tmp_path) == []


@pytest.mark.parametrize(
    "schema",
    [
        "",
        "{",
        "[]",
        "\ud800",
        {"properties": 1},
        {"properties": {"a": 1}},
        {"properties": {"a": {"$ref": "#/$defs/No"}}},
    ],
)
def test_a_damaged_file_is_one_line_that_says_what_to_do(cli: Cli, tmp_path: Path, schema: object) -> None:
    if schema == "\ud800":
        file = write(tmp_path, "reader", "reads", "happened", {})
        file.write_bytes(b"\xff")
    else:
        file = write(tmp_path, "reader", "reads", "happened", schema)
    done = cli("events", "--jobs", str(tmp_path))
    assert done.code == 2
    assert done.stderr.startswith(f"keda-jobs: {file} is no JSON Schema of an event (")
    assert done.stderr.endswith("); run `make job-files`\n")
