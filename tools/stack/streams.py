"""Declared stream and consumers on a local server, applied by the code behind `keda-jobs streams apply`."""

from __future__ import annotations

from dataclasses import replace

from keda_jobs.jetstream.connection import connect
from keda_jobs.jetstream.streams import apply, read_declaration
from keda_jobs.settings import NatsSettings
from stack.jobs import ROOT


async def apply_streams(nats_url: str, *, ack_wait_s: float | None = None) -> None:
    """Apply `jobs/stream.json` and every `consumer.json`. Tests shorten the acknowledgement time by `ack_wait_s`."""
    declaration = read_declaration(ROOT / "jobs")
    if ack_wait_s is not None:
        short = {"ack_wait": int(ack_wait_s * 1e9)}
        declaration = replace(declaration, consumers=tuple({**consumer, **short} for consumer in declaration.consumers))
    # Not from the environment, which may name another server and user.
    settings = NatsSettings.model_construct(nats_url=nats_url)
    async with connect(settings, name="keda-jobs-stack", wait=False) as connection:
        await apply(connection, declaration)
