"""Promise of a job: most of its events are done within some time of their first publish."""

from __future__ import annotations

from dataclasses import dataclass

from keda_jobs.domain.policy import Ack, Dead


@dataclass(frozen=True, slots=True)
class Promise:
    """Promise that a share of the events, `objective`, is acked within `within_s` of the first publish."""

    objective: float
    within_s: float

    def is_kept(self, decision: Ack | Dead, age_s: float) -> bool:
        """Return whether an event that ends with `decision` was done in time. A dead letter is not done."""
        return isinstance(decision, Ack) and age_s <= self.within_s
