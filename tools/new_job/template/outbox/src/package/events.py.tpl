"""Events that this job sends."""

from __future__ import annotations

from keda_jobs import Event


class <Event>(Event, subject="<subject>"):
    """The event, with all the fields that a row's `payload` has."""

    <field>: str
