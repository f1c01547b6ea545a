"""Chaos during a run: workers are killed, and the server crashes."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from .fleet import Fleet
from .queue_view import QueueView

Spot = Literal["between two batches", "begun", "half done"]
SPOTS: tuple[Spot, ...] = get_args(Spot)

_WHERE_THEY_ARE = """
SELECT pod_name, CASE
  WHEN bool_or(status = 'running' AND completed + failed BETWEEN 1 AND claimed - 1) THEN 'half done'
  WHEN bool_or(status = 'running' AND completed + failed = 0) THEN 'begun'
  ELSE 'between two batches'
END AS spot
FROM batch_jobs GROUP BY pod_name"""


class Kills:
    """SIGKILL to one worker after another, at every spot of its work. Another worker is always left alive.

    `rng` draws the spots and the pauses between two kills, in seconds.
    """

    def __init__(self, queue: QueueView, fleet: Fleet, rng: random.Random, pauses_s: tuple[float, float]) -> None:
        self._queue = queue
        self._fleet = fleet
        self._rng = rng
        self._pauses_s = pauses_s
        self._draw()
        self.hits: Counter[Spot] = Counter()

    def _draw(self) -> None:
        self._spot: Spot = self._rng.choice(SPOTS)
        self._due = time.monotonic() + self._rng.uniform(*self._pauses_s)

    async def strike_when_due(self) -> None:
        """Kill a worker if the pause has passed and one is at the drawn spot."""
        if time.monotonic() < self._due:
            return
        spots = await self._spots()
        workers = [worker for worker in self._fleet.alive if worker.pod in spots]
        victims = [worker for worker in workers if spots[worker.pod] == self._spot]
        if victims and len(workers) > 1:
            victim = self._rng.choice(victims)
            await self._fleet.kill(victim)
            # The spot where it died, by the records that it left.
            self.hits[(await self._spots())[victim.pod]] += 1
            self._draw()

    async def _spots(self) -> dict[str, Spot]:
        """Read the spot of each worker that has ever claimed."""
        return {row["pod_name"]: row["spot"] for row in await self._queue.owner.fetch(_WHERE_THEY_ARE)}


class Crashes:
    """Crashes of the server, each after a number of settled rows."""

    def __init__(self, queue: QueueView, at: Iterable[int]) -> None:
        self._queue = queue
        self._at = sorted(at)

    @property
    def left(self) -> int:
        """Number of crashes still to come."""
        return len(self._at)

    async def strike_when_due(self) -> None:
        """Crash the server if it is time, and return when it runs again."""
        if self._at and await self._queue.settled_rows() >= self._at[0]:
            del self._at[0]
            await self._queue.crash()
