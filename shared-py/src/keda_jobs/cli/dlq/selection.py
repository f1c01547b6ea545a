"""Selection of the dead letters that a command changes."""

from __future__ import annotations

from keda_jobs.errors import Misconfigured
from keda_jobs.jetstream.dead_letters import DeadLetterFilter


def require_selection(selection: DeadLetterFilter, everything: bool) -> None:
    """Refuse to change all dead letters without `--all`. Raises `Misconfigured`."""
    if selection.is_everything and not everything:
        raise Misconfigured("no dead letters selected: pass SEQ, a filter, or --all")
