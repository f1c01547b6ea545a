"""The events this job reads."""

from __future__ import annotations

from keda_jobs import Event


class <Event>(Event, subject="<subject>"):
    """This job's own view of the event: the fields it uses, and no others."""

    <field>: str
