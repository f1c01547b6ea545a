"""How long to wait: between the deliveries of a message, and between tries at a platform in trouble."""

from __future__ import annotations

import random

_FIRST_PAUSE_S = 0.5


def retry_delay_s(attempt: int, step_s: float) -> float:
    """Seconds between the failed delivery number `attempt` and the next: linear, attempt times the step.

    Fifteen deliveries with a step of 2460 s wait (1 + … + 14) * 2460 s = 71.75 h in all.
    """
    return attempt * step_s


def pause_s(tries: int, *, most_s: float) -> float:
    """Seconds before try number `tries` + 1 at the platform: doubling, bounded, the upper half jittered.

    The jitter keeps the pods of one job from knocking at a recovering server at the same moment.
    """
    bound = min(most_s, _FIRST_PAUSE_S * 2.0 ** min(tries, 30))
    return bound * random.uniform(0.5, 1.0)
