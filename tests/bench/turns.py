"""Turns of contestants: what slows the machine for a while slows them all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from results import Series

Turn = Callable[[], Awaitable[float]]


async def in_turn(title: str, turns: Mapping[str, Turn], rounds: int, say: Callable[[str], None]) -> dict[str, Series]:
    """Let each contestant take a turn in every round, and return their figures."""
    values: dict[str, list[float]] = {name: [] for name in turns}
    for round_ in range(1, rounds + 1):
        for name, turn in turns.items():
            say(f"{title}: round {round_} of {rounds}, {name}")
            values[name].append(await turn())
    return {name: Series(name, tuple(figures)) for name, figures in values.items()}
