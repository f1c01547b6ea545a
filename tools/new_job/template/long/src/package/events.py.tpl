"""Events that this job reads."""

from __future__ import annotations

from keda_jobs import Event


class <Event>(Event, subject="<subject>"):
    """This job's view of the event: only the fields that it uses."""

    <field>: str
