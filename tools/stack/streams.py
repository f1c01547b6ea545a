"""Declared streams and consumers on a local server, applied by the code behind `keda-jobs streams apply`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from keda_jobs.domain.subjects import DEAD_LETTER, DELAYED_STREAM, STREAM, due_subject, durable_name
from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.declaration import Config, Declaration, delayed_source, read_declaration
from keda_jobs.jetstream.streams import apply
from keda_jobs.settings import NatsSettings
from stack.jobs import ROOT


async def apply_streams(nats_url: str, *, ack_wait_s: float | None = None) -> None:
    """Apply the repository's declaration. Tests shorten the acknowledgement time by `ack_wait_s`."""
    declaration = read_declaration(ROOT / "jobs")
    if ack_wait_s is not None:
        short = {"ack_wait": int(ack_wait_s * 1e9)}
        declaration = replace(declaration, consumers=tuple({**consumer, **short} for consumer in declaration.consumers))
    # Not from the environment, which may name another server and user.
    settings = NatsSettings.model_construct(nats_url=nats_url)
    async with connect(settings, name="keda-jobs-stack", wait=False) as connection:
        await apply(connection, declaration)


def declaration_for(read_by: Mapping[str, str], others: Iterable[str] = (), *, ack_wait_s: float = 60) -> Declaration:
    """Return the repository's streams with other events: those of `others`, and the one that each job reads."""
    subjects = [*{*read_by.values(), *others}, DEAD_LETTER]
    streams = read_declaration(ROOT / "jobs").streams
    consumers = [
        {
            "durable_name": durable_name(job),
            "filter_subjects": [subject, due_subject(job)],
            "ack_policy": "explicit",
            "ack_wait": int(ack_wait_s * 1e9),
            "max_deliver": -1,
        }
        for job, subject in read_by.items()
    ]
    return Declaration(
        tuple(_with_subjects(stream, subjects) if stream["name"] == STREAM else stream for stream in streams),
        tuple(consumers),
    )


def _with_subjects(events: Config, subjects: list[str]) -> Config:
    others = [source for source in events["sources"] if source["name"] != DELAYED_STREAM]
    return {**events, "subjects": subjects, "sources": [*others, delayed_source(subjects)]}
