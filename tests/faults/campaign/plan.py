"""Plans of faults: everything in one is drawn from its seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ACK_WAIT_S = 2.0
LEASE_S = 2.0

WORKERS = ("order-intake-0", "order-intake-1", "order-entry-0", "order-entry-1", "order-rows")
"""Targets among the workers. The last one is any worker of the batch job, which come and go."""

NATS, STORE, POSTGRES = "NATS", "store", "PostgreSQL"
SERVERS = (NATS, STORE, POSTGRES)


class Action(StrEnum):
    """What is done to a target. It is undone after the time of the strike."""

    KILL = "kill -9"
    STOP = "SIGTERM"
    FREEZE = "SIGSTOP"
    CUT = "cut the connections"
    SILENCE = "let no byte through"
    SLOW = "slow the connections down"
    FILL = "fill the disk, also during a start"
    ROLL_BACK = "copy the streams while NATS runs, and restore the copy"


@dataclass(frozen=True, slots=True)
class Fault:
    """Action that is drawn with one of `targets`, for as long as one of the two durations or between them."""

    action: Action
    targets: Sequence[str]
    for_s: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of run: its faults, and how many strikes there are."""

    name: str
    promise: str
    faults: Sequence[Fault]
    strikes: int


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault, `at_s` seconds after the first order, for `for_s` seconds."""

    at_s: float
    action: Action
    target: str
    for_s: float

    def __str__(self) -> str:
        duration = f" for {self.for_s:.1f} s" if self.for_s else ""
        return f"{self.at_s:.1f} s {self.action} ({self.target}){duration}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Strikes of one run, in order of time."""

    seed: int
    kind: Kind
    strikes: Sequence[Strike]

    @property
    def rolls_back(self) -> bool:
        """True where orders that come after the copy would be lost with the disk, as they may be."""
        return any(strike.action is Action.ROLL_BACK for strike in self.strikes)


# A process that starts again, and a freeze that outlives acknowledgement times and leases.
_DOWN_S = (0.0, 2.0)
_FROZEN_S = (ACK_WAIT_S + 1, ACK_WAIT_S + 3)

# Workers are started again by the system, as by Kubernetes.
_AT_ONCE = (0.0, 0.0)

_KILL = Fault(Action.KILL, WORKERS, _AT_ONCE)
_STOP = Fault(Action.STOP, WORKERS, _AT_ONCE)
_FREEZE = Fault(Action.FREEZE, WORKERS, _FROZEN_S)
_KILL_NATS = Fault(Action.KILL, [NATS], _DOWN_S)
_FREEZE_NATS = Fault(Action.FREEZE, [NATS], _FROZEN_S)
_STORE = [Fault(Action.KILL, [STORE], (0.0, 4.0)), Fault(Action.FREEZE, [STORE], _FROZEN_S)]
_POSTGRES = [Fault(Action.KILL, [POSTGRES], _DOWN_S), Fault(Action.FREEZE, [POSTGRES], _FROZEN_S)]
_CUT = Fault(Action.CUT, SERVERS, (0.0, 2.0))
_SILENCE = Fault(Action.SILENCE, SERVERS, _FROZEN_S)
_SLOW = Fault(Action.SLOW, SERVERS, (2.0, 4.0))

KINDS = (
    Kind("workers killed", "a worker that dies loses nothing: messages come back after `ack_wait`, rows after the "
         "lease", [_KILL], 8),
    Kind("workers stopped", "a worker that is told to stop finishes or gives back what it has", [_STOP], 8),
    Kind("workers frozen", "a worker that wakes after others took its work over spoils nothing", [_FREEZE], 4),
    Kind("NATS killed", "what NATS has confirmed outlives it: orders, retries, dead letters", [_KILL_NATS], 4),
    Kind("NATS frozen", "an ack that was not confirmed is no ack", [_FREEZE_NATS], 3),
    Kind("store killed or frozen", "no order is done before its object is stored", _STORE, 4),
    Kind("PostgreSQL killed or frozen", "no row is done before its result is stored", _POSTGRES, 4),
    Kind("connections cut", "a job connects again and repeats only what was not confirmed", [_CUT], 8),
    Kind("connections silent or slow", "a job notices a connection that is dead, and waits for a slow one",
         [_SILENCE, _SLOW], 4),
    Kind("disk of NATS full", "a full disk refuses orders and loses none that it has confirmed",
         [Fault(Action.FILL, [NATS], (2.0, 4.0))], 1),
    Kind("streams restored from a copy", "a copy of the disk as it was at one moment has all that was confirmed "
         "before it", [Fault(Action.ROLL_BACK, [NATS], (1.0, 3.0))], 1),
    Kind("all at once", "all of these together", [_KILL, _STOP, _FREEZE, _KILL_NATS, _FREEZE_NATS, *_STORE,
         *_POSTGRES, _CUT, _SILENCE, _SLOW], 10),
)  # fmt: skip


def draw_plan(seed: int, span_s: float) -> Plan:
    """Draw the strikes of a run whose orders come within `span_s` seconds. Seeds in a row have one kind each."""
    rng = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    strikes = []
    for _ in range(kind.strikes):
        fault = rng.choice(kind.faults)
        at_s = rng.uniform(0.05, 0.95) * span_s
        strikes.append(Strike(at_s, fault.action, rng.choice(fault.targets), rng.uniform(*fault.for_s)))
    return Plan(seed, kind, sorted(strikes, key=lambda strike: strike.at_s))
