"""Streams, consumers and schedules: `jobs/stream*.json`, `jobs/*/consumer.json` and `[[schedules]]` of job.toml.

The JSON files hold JetStream's own JSON (durations in ns). An undeclared key keeps the server's value. `stream.json`
declares the events stream, `stream-<name>.json` the stream `keda-jobs-<name>`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keda_jobs.domain.broker import Outgoing
from keda_jobs.domain.subjects import (
    DEAD_LETTER,
    DELAYED_STREAM,
    STREAM,
    STREAMS,
    covers,
    delay_fire_subject,
    due_subject,
    durable_name,
    is_literal,
    overlap,
)
from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.schedule_files import read_schedules
from keda_jobs.jetstream.stream_diff import normalize

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Declaration:
    """Streams, and the consumers of the events stream. A stream comes after those that it sources.

    `schedules` are the messages that hold them, without ids.
    """

    streams: tuple[Config, ...]
    consumers: tuple[Config, ...]
    schedules: tuple[Outgoing, ...] = ()


def find_jobs(start: Path) -> Path:
    """Find the nearest folder `jobs` with a `stream.json`, from `start` upward. Raises `Misconfigured`."""
    for folder in (start, *start.parents):
        if (folder / "jobs" / "stream.json").is_file():
            return folder / "jobs"
    raise Misconfigured(f"no jobs/stream.json in {start} or above it; name the folder with --jobs")


def read_declaration(jobs: Path) -> Declaration:
    """Read and check the declaration in the folder `jobs`. Raises `Misconfigured`, which names every mistake."""
    streams = {path.name: _read(path) for path in [jobs / "stream.json", *sorted(jobs.glob("stream-*.json"))]}
    consumers = {path.parent.name: _read(path) for path in sorted(jobs.glob("*/consumer.json"))}
    mistakes = [f"{file}: {mistake}" for file, stream in streams.items() for mistake in _stream_mistakes(file, stream)]
    if not mistakes:
        mistakes = [*_mistakes_between(streams)]
        for job, consumer in consumers.items():
            found = _consumer_mistakes(job, consumer, streams["stream.json"])
            mistakes += (f"{jobs / job}/consumer.json: {mistake}" for mistake in found)
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    # The server sources a stream that does not exist yet only after a while.
    ordered = sorted(streams.values(), key=lambda stream: bool(stream.get("sources")))
    filters = {job: _strings(normalize(consumer).get("filter_subjects")) for job, consumer in consumers.items()}
    return Declaration(tuple(ordered), tuple(consumers.values()), read_schedules(jobs, filters))


def with_replicas(declaration: Declaration, replicas: int) -> Declaration:
    """Return `declaration` with this number of replicas. One without a number keeps the server's."""
    return replace(declaration, streams=tuple({**stream, "num_replicas": replicas} for stream in declaration.streams))


def consumer_name(consumer: Config) -> str:
    """Return the name in a consumer's config."""
    return str(consumer.get("durable_name") or consumer.get("name") or "")


def sourced_subjects(stream: Config) -> Iterator[tuple[str, str, str]]:
    """Yield the sourced stream, the subject there and the subject here, of each transform of the stream's sources."""
    for source in stream.get("sources") or []:
        for transform in source["subject_transforms"]:
            # `{{wildcard(1)}}` in the destination stands for one part of the subject.
            here = re.sub(r"\{\{wildcard\(\d+\)\}\}", "*", transform["dest"])
            yield source["name"], transform["src"], here


def delayed_source(subjects: Iterable[str]) -> dict[str, Any]:
    """Build the source that brings delayed events to `subjects` of the events stream, and to no other."""
    transforms = [
        {"src": delay_fire_subject(subject), "dest": _numbered(subject)}
        for subject in subjects
        if subject != DEAD_LETTER
    ]
    # Otherwise NATS begins at the time of the last event, and what was due before stays.
    return {"name": DELAYED_STREAM, "opt_start_seq": 1, "subject_transforms": transforms}


def _numbered(pattern: str) -> str:
    """Return the destination for all messages of a pattern: `orders.{{wildcard(1)}}` for `orders.*`."""
    numbers = itertools.count(1)
    return re.sub(r"\*", lambda _: f"{{{{wildcard({next(numbers)})}}}}", pattern)


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise Misconfigured(f"{path} is not a JSON object")
    return config


def _stream_mistakes(file: str, stream: Config) -> Iterator[str]:
    name = STREAM if file == "stream.json" else f"keda-jobs-{file.removeprefix('stream-').removesuffix('.json')}"
    if stream.get("name") != name:
        yield f'"name" must be "{name}"'
    if not _strings(stream.get("subjects")):
        yield '"subjects" must be a list of subjects'
    try:
        sources = {source for source, _, _ in sourced_subjects(stream)}
        is_complete = len(sources) == len(stream.get("sources") or [])
    except (KeyError, TypeError):
        is_complete = False
    if not is_complete:
        yield 'each of "sources" must have a "name" and "subject_transforms" with "src" and "dest"'


def _mistakes_between(streams: Mapping[str, Config]) -> Iterator[str]:
    for (file, stream), (other_file, other) in itertools.combinations(streams.items(), 2):
        for one, two in itertools.product(stream["subjects"], other["subjects"]):
            if overlap(one, two):
                yield f"{file}: the subject {one} overlaps with {two} in {other_file}"
    names = {stream["name"] for stream in streams.values()}
    for missing in set(STREAMS) - names:
        yield f"stream-{missing.removeprefix('keda-jobs-')}.json is missing, which declares {missing}"
    for file, stream in streams.items():
        for source, _, _ in sourced_subjects(stream):
            if source not in names:
                yield f"{file}: no file declares {source}, which it sources"
        if any(overlap(subject, due_subject("*")) for subject in stream["subjects"]):
            yield f"{file}: {due_subject('*')} may only come through a source, or whoever publishes it forges retries"
    yield from _delay_mistakes(streams["stream.json"])


def _delay_mistakes(events: Config) -> Iterator[str]:
    """Say which events cannot be delayed, and which delayed messages would reach something else."""
    found = {(src, here) for name, src, here in sourced_subjects(events) if name == DELAYED_STREAM}
    wanted = {(src, here) for _, src, here in sourced_subjects({"sources": [delayed_source(events["subjects"])]})}
    for src, here in sorted(wanted - found):
        yield f"stream.json: it must source {src} from {DELAYED_STREAM} as {here}, or that event cannot be delayed"
    for src, here in sorted(found - wanted):
        yield f"stream.json: it must not source {src} from {DELAYED_STREAM} as {here}: that is no event"


def _strings(value: Any) -> list[str]:
    return value if isinstance(value, list) and all(isinstance(item, str) for item in value) else []


def _consumer_mistakes(job: str, consumer: Config, events: Config) -> Iterator[str]:
    filters = _strings(normalize(consumer).get("filter_subjects"))
    held = [*events["subjects"], *(here for _, _, here in sourced_subjects(events))]
    due = due_subject(job)
    if consumer_name(consumer) != durable_name(job):
        yield f'"durable_name" must be "{durable_name(job)}"'
    if due not in filters:
        yield f'"filter_subjects" must hold "{due}", or retries never come back'
    for subject in filters:
        if not _covered(subject, held):
            yield f"the stream takes no subject {subject}"
        elif subject != due and overlap(subject, due_subject("*")):
            yield f"the filter {subject} would take other jobs' retries"
        elif not is_literal(subject):
            # nats-py cannot read a subject with a vertical tab, and servers take one.
            yield f"the filter {subject} is a pattern: name each subject, so that no sender can choose one"


def _covered(subject: str, patterns: Iterable[str]) -> bool:
    return any(covers(pattern, subject) for pattern in patterns)
