"""Checks of a declaration, and its comparison with the server's config."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from keda_jobs.domain.message import STREAM_KEEPS
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.declaration import delayed_source, find_jobs, read_declaration
from keda_jobs.jetstream.stream_diff import differences, format_duration_ns, format_value, merge

STREAM: dict[str, Any] = {
    "name": "keda-jobs-events",
    "subjects": ["image-download", "dead-letter"],
    "sources": [
        {
            "name": "keda-jobs-retries",
            "subject_transforms": [{"src": "retry.fire.*", "dest": "retry.due.{{wildcard(1)}}"}],
        },
        {
            "name": "keda-jobs-delayed",
            "subject_transforms": [{"src": "delay.fire.image-download", "dest": "image-download"}],
        },
    ],
}
DELAYED = {"name": "keda-jobs-delayed", "subjects": ["delay.wait.>", "delay.fire.>"]}
RETRIES = {"name": "keda-jobs-retries", "subjects": ["retry.wait.>", "retry.fire.*"]}
CONSUMER = {
    "durable_name": "image-download-consumer",
    "filter_subjects": ["image-download", "retry.due.image-download"],
}


def declared(
    folder: Path,
    stream: dict[str, Any] | None = None,
    consumer: dict[str, Any] | None = None,
    retries: dict[str, Any] | None = None,
) -> Path:
    (folder / "image-download").mkdir()
    (folder / "stream.json").write_text(json.dumps(STREAM | (stream or {})))
    (folder / "stream-retries.json").write_text(json.dumps(RETRIES | (retries or {})))
    (folder / "stream-delayed.json").write_text(json.dumps(DELAYED))
    (folder / "image-download" / "consumer.json").write_text(json.dumps(CONSUMER | (consumer or {})))
    return folder


def test_a_valid_declaration_is_read(tmp_path: Path) -> None:
    found = read_declaration(declared(tmp_path))

    assert found.streams == (DELAYED, RETRIES, STREAM), "a stream comes after those that it sources"
    assert found.consumers == (CONSUMER,)


def test_the_declaration_of_this_repository_is_valid() -> None:
    found = read_declaration(find_jobs(Path(__file__)))

    assert {consumer["durable_name"] for consumer in found.consumers} >= {
        "image-download-consumer",
        "image-resize-consumer",
    }
    *_, events = found.streams
    assert events["max_age"] == STREAM_KEEPS.total_seconds() * 1_000_000_000


@pytest.mark.parametrize(
    ("consumer", "mistake"),
    [
        ({"durable_name": "downloads"}, '"durable_name" must be "image-download-consumer"'),
        ({"filter_subjects": ["image-download"]}, 'must hold "retry.due.image-download", or retries never come back'),
        ({"filter_subjects": []}, 'must hold "retry.due.image-download"'),
        ({"filter_subjects": ["retry.due.image-download", "image-dwonload"]}, "takes no subject image-dwonload"),
        ({"filter_subjects": ["retry.due.image-download", "image-*"]}, "takes no subject image-*"),
        ({"filter_subjects": ["retry.due.image-download", "retry.>"]}, "takes no subject retry.>"),
        ({"filter_subjects": ["retry.due.image-download", "retry.wait.x.*"]}, "takes no subject retry.wait.x.*"),
        ({"filter_subjects": ["retry.due.image-download", "retry.fire.*"]}, "takes no subject retry.fire.*"),
        ({"filter_subjects": ["retry.due.image-download", ">"]}, "takes no subject >"),
        ({"filter_subjects": ["retry.due.image-download", "retry.due.other"]}, "would take other jobs' retries"),
    ],
)
def test_mistakes_in_a_consumer_are_named_with_their_file(
    tmp_path: Path, consumer: dict[str, Any], mistake: str
) -> None:
    with pytest.raises(Misconfigured) as error:
        read_declaration(declared(tmp_path, consumer=consumer))

    assert "image-download/consumer.json: " in str(error.value)
    assert mistake in str(error.value)


def test_a_filter_names_one_subject(tmp_path: Path) -> None:
    filters = ["retry.due.image-download", "orders.*"]
    folder = declared(tmp_path, {"subjects": ["orders.*", "dead-letter"]}, {"filter_subjects": filters})
    with pytest.raises(Misconfigured, match=r"the filter orders\.\* is a pattern: name each subject"):
        read_declaration(folder)


@pytest.mark.parametrize("stream", [{"name": "events"}, {"subjects": []}, {"subjects": None}])
def test_mistakes_in_a_stream_are_named(tmp_path: Path, stream: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"stream\.json: "):
        read_declaration(declared(tmp_path, stream=stream))


@pytest.mark.parametrize(
    ("stream", "mistake"),
    [
        ({"subjects": ["dead-letter", "retry.>"]}, "retry.> overlaps with retry.wait.> in stream-retries.json"),
        ({"subjects": ["dead-letter", "retry.due.x"]}, "retry.due.* may only come through a source"),
        ({"sources": ["keda-jobs-retries"]}, 'each of "sources" must have a "name"'),
        ({"sources": [{"name": "keda-jobs-retries", "subject_transforms": [{"src": "a"}]}]}, 'each of "sources"'),
        ({"sources": [{"name": "keda-jobs-retries"}]}, 'each of "sources"'),
        ({"sources": [{"name": "keda-jobs-retries", "subject_transforms": []}]}, 'each of "sources"'),
        ({"sources": 1}, 'each of "sources"'),
        (
            {"sources": [{"name": "gone", "subject_transforms": [{"src": "a", "dest": "b"}]}]},
            "no file declares gone, which it sources",
        ),
        ({"sources": []}, "takes no subject retry.due.image-download"),
    ],
)
def test_streams_that_do_not_fit_together_are_named(tmp_path: Path, stream: dict[str, Any], mistake: str) -> None:
    with pytest.raises(Misconfigured, match=re.escape(mistake)):
        read_declaration(declared(tmp_path, stream))


def test_another_stream_needs_only_its_file_and_its_source(tmp_path: Path) -> None:
    later = {"name": "keda-jobs-later", "subjects": ["later.fire.*"]}
    source = {"name": "keda-jobs-later", "subject_transforms": [{"src": "later.fire.a", "dest": "image-download"}]}
    (tmp_path / "stream-later.json").write_text(json.dumps(later))

    found = read_declaration(declared(tmp_path, {"sources": [*STREAM["sources"], source]}))

    names = [stream["name"] for stream in found.streams]
    assert names == ["keda-jobs-delayed", "keda-jobs-later", "keda-jobs-retries", "keda-jobs-events"]


@pytest.mark.parametrize("retries", [{"name": "retries"}, {"name": "keda-jobs-events"}, {"subjects": []}])
def test_mistakes_in_another_stream_are_named(tmp_path: Path, retries: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match=r"stream-retries\.json: "):
        read_declaration(declared(tmp_path, retries=retries))


@pytest.mark.parametrize("name", ["retries", "delayed"])
def test_the_streams_of_what_waits_are_required(tmp_path: Path, name: str) -> None:
    declared(tmp_path)
    (tmp_path / f"stream-{name}.json").unlink()

    with pytest.raises(Misconfigured, match=rf"stream-{name}\.json is missing"):
        read_declaration(tmp_path)


@pytest.mark.parametrize(
    ("src", "dest", "mistake"),
    [
        ("delay.fire.image-downloaded", "image-download", "it must source delay.fire.image-download from"),
        ("delay.fire.x", "dead-letter", "it must not source delay.fire.x from keda-jobs-delayed as dead-letter"),
        ("delay.fire.*", "{{wildcard(1)}}", "it must not source delay.fire.* from keda-jobs-delayed as *: that is no"),
        ("delay.fire.>", "retry.due.>", "it must not source delay.fire.> from keda-jobs-delayed as retry.due.>"),
    ],
)
def test_a_schedule_reaches_each_event_and_nothing_else(tmp_path: Path, src: str, dest: str, mistake: str) -> None:
    source = {"name": "keda-jobs-delayed", "subject_transforms": [{"src": src, "dest": dest}]}

    with pytest.raises(Misconfigured, match=re.escape(mistake)):
        read_declaration(declared(tmp_path, {"sources": [STREAM["sources"][0], source]}))


def test_a_pattern_of_events_is_sourced_under_the_same_names(tmp_path: Path) -> None:
    source = delayed_source(["image-download", "orders.*.*", "dead-letter"])

    assert source["subject_transforms"][-1] == {
        "src": "delay.fire.orders.*.*",
        "dest": "orders.{{wildcard(1)}}.{{wildcard(2)}}",
    }
    sources = [STREAM["sources"][0], source]
    read_declaration(declared(tmp_path, {"subjects": ["image-download", "orders.*.*"], "sources": sources}))


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "nonsense"])
def test_a_file_without_a_json_object_is_named(tmp_path: Path, text: str) -> None:
    declared(tmp_path)
    (tmp_path / "stream.json").write_text(text)

    with pytest.raises(Misconfigured, match=r"stream\.json (cannot be read|is not a JSON object)"):
        read_declaration(tmp_path)


@pytest.mark.parametrize(
    ("declaration", "server"),
    [
        ({"max_age": 5}, {"max_age": 5, "storage": "file"}),
        ({"subjects": ["a", "b"]}, {"subjects": ["b", "a"]}),
        ({"description": "", "deny_delete": False, "sources": []}, {}),
        ({"sources": [{"name": "a"}]}, {"sources": [{"name": "a", "external": {"api": "x"}}]}),
        ({"max_msgs": 0}, {"max_msgs": -1}),
        ({"ack_wait": 0, "max_ack_pending": 0}, {"ack_wait": 30, "max_ack_pending": 1000}),
        ({"filter_subject": "a"}, {"filter_subjects": ["a"]}),
        ({"metadata": {"team": "x"}}, {"metadata": {"team": "x", "_nats.level": "2"}}),
    ],
)
def test_equivalent_configs_do_not_differ(declaration: dict[str, Any], server: dict[str, Any]) -> None:
    assert differences(declaration, server) == []


@pytest.mark.parametrize(
    ("declaration", "server", "line"),
    [
        ({"max_age": 0}, {"max_age": 10**9}, "max_age 1s → none"),
        ({"description": ""}, {"description": "x"}, "description x → "),
        ({"deny_delete": False}, {"deny_delete": True}, "deny_delete true → false"),
        ({"filter_subject": "a"}, {"filter_subject": "b"}, "filter_subjects [b] → [a]"),
        ({"backoff": [10**9, 2 * 10**9]}, {"backoff": [2 * 10**9, 10**9]}, "backoff [2s, 1s] → [1s, 2s]"),
        ({"metadata": {"team": "x"}}, {}, "metadata none → {'team': 'x'}"),
        ({"sources": [{"name": "a"}]}, {}, "sources none → [a]"),
        (
            {"sources": [{"name": "a", "subject_transforms": [{"src": "b", "dest": "c"}]}]},
            {"sources": [{"name": "a", "subject_transforms": [{"src": "b", "dest": "d"}]}]},
            "sources [a b as d] → [a b as c]",
        ),
    ],
)
def test_differences_are_shown(declaration: dict[str, Any], server: dict[str, Any], line: str) -> None:
    assert [str(difference) for difference in differences(declaration, server)] == [line]


def test_merging_keeps_undeclared_keys() -> None:
    server = {"a": 1, "metadata": {"x": "1", "y": "2"}, "filter_subject": "old"}

    assert merge(server, {"b": 2, "metadata": {"y": "3"}, "filter_subjects": ["new"]}) == {
        "a": 1,
        "b": 2,
        "metadata": {"x": "1", "y": "3"},
        "filter_subjects": ["new"],
    }


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (14 * 86_400 * 10**9, "14d"),
        (5400 * 10**9, "1h30m"),
        (1_500_000_000, "1s500ms"),
        (1_000, "1e-06s"),
        (0, "0s"),
    ],
)
def test_durations_are_readable(ns: int, text: str) -> None:
    assert format_duration_ns(ns) == text


def test_values_are_readable() -> None:
    assert format_value("ack_wait", 60 * 10**9) == "1m"
    assert format_value("max_bytes", -1) == "none"
    assert format_value("allow_direct", True) == "true"
